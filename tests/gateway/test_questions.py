"""What a backend asks reaches the client that made the call, and the answer comes back, in every pair of eras."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client, MCPError
from tests.gateway.asking import Person, asking_backend
from tests.gateway.speakers import ModernSpeaker
from tests.gateway.world import Running, config, entry, gateway, gateway_thread, until

# The eras differ on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

KINDS = ("legacy", "modern", "both")
MODES = ("legacy", "2026-07-28")


@pytest.fixture(params=KINDS, scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with (
        asking_backend(request.param) as asking,
        gateway_thread(tmp_path_factory.mktemp("gateway"), config(entry("a", asking.url))) as running,
    ):
        yield running


async def text(client: Client, tool: str) -> str:
    async def listed() -> bool:
        return bool((await client.list_tools()).tools)

    await until(listed)
    result = await client.call_tool(tool, {})
    assert not result.is_error, result
    return str(result.content[0].text)  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("tool", "answer", "asked"),
    [
        ("a_elicit", "accept blue", ["elicit"]),
        ("a_sample", "sampled", ["sample"]),
        ("a_roots", "file:///here", ["roots"]),
        ("a_all_three", "accept 1", ["elicit", "roots", "sample"]),
    ],
)
async def test_a_question_is_answered(running: Running, mode: str, tool: str, answer: str, asked: list[str]) -> None:
    person = Person()
    async with person.client(running.url, mode) as client:
        assert await text(client, tool) == answer
    assert sorted(person.asked) == asked


@pytest.mark.parametrize("mode", MODES)
async def test_a_no_is_an_answer(running: Running, mode: str) -> None:
    person = Person()
    person.refuses = True
    async with person.client(running.url, mode) as client:
        assert await text(client, "a_elicit") == "decline"


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_that_cannot_be_asked_is_not_asked(running: Running, mode: str) -> None:
    async with Client(running.url, mode=mode, cache=None, read_timeout_seconds=20) as client:
        await until(lambda: _lists(client))
        result = None
        with contextlib.suppress(MCPError):
            # The backend's own refusal, or ours where it does not refuse.
            result = await client.call_tool("a_sample", {})
    assert result is None or result.is_error


async def test_each_client_is_asked_what_its_own_call_needs(running: Running) -> None:
    ada, bob = Person(), Person()
    async with ada.client(running.url, "legacy") as one, bob.client(running.url, "legacy") as other:
        assert await text(one, "a_elicit") == "accept blue"
        assert await text(other, "a_sample") == "sampled"
    assert (ada.asked, bob.asked) == (["elicit"], ["sample"])


async def test_a_question_outside_of_a_call_reaches_the_clients_get_stream(tmp_path: Path) -> None:
    with asking_backend("legacy") as asking:
        async with gateway(tmp_path, config(entry("a", asking.url))) as running:
            person = Person()
            async with person.client(running.url, "legacy") as client:
                assert await text(client, "a_ask_outside") == "1"
            assert person.asked == ["roots"]


async def test_a_made_up_state_is_invalid_params(running: Running) -> None:
    client = ModernSpeaker(running)

    async def listed() -> bool:
        return bool((await client.ask("tools/list")).json()["result"]["tools"])

    await until(listed)
    answer = await client.ask("tools/call", {"name": "a_elicit", "requestState": "vmcp-held:made-up"})
    assert answer.json()["error"]["code"] == -32602
    assert answer.status_code == 400


async def test_a_modern_client_that_answers_nothing_is_asked_again(tmp_path: Path) -> None:
    with asking_backend("legacy") as asking:
        async with gateway(tmp_path, config(entry("a", asking.url))) as running:
            client = ModernSpeaker(running)

            async def listed() -> bool:
                return bool((await client.ask("tools/list")).json()["result"]["tools"])

            await until(listed)
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
            }
            first = (await client.ask("tools/call", {"name": "a_roots"}, meta=meta)).json()["result"]
            assert first["resultType"] == "input_required"
            state = {"name": "a_roots", "requestState": first["requestState"]}
            assert (await client.ask("tools/call", state, meta=meta)).json()["result"] == first
            key = next(iter(first["inputRequests"]))
            answers = {key: {"roots": [{"uri": "file:///x"}]}}
            last = await client.ask("tools/call", {**state, "inputResponses": answers}, meta=meta)
            assert last.json()["result"]["content"][0]["text"] == "file:///x"


async def _lists(client: Client) -> bool:
    return bool((await client.list_tools()).tools)
