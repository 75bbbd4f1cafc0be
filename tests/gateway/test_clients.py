"""The official SDK's client, in each of its modes, sees several backends of either era as one server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from mcp import Client, MCPError
from mcp_types import PromptReference
from tests.gateway.world import Running, backend, config, entry, gateway_thread, until

Connect = Callable[[], contextlib.AbstractAsyncContextManager[Client]]

MODES = ("legacy", "auto", "2026-07-28")
KINDS = ("modern", "legacy", "legacy-json", "sse")


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def running(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with backend("alpha", kind) as alpha, backend("beta", kind) as beta:
        wire = "sse" if kind == "sse" else "streamable-http"
        content = config(entry("alpha", alpha.url, transport=wire), entry("beta", beta.url, transport=wire))
        with gateway_thread(tmp_path_factory.mktemp("gateway"), content) as running:
            yield running


@pytest.fixture(params=MODES)
def connect(request: pytest.FixtureRequest, running: Running) -> Connect:
    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        async with Client(running.url, mode=request.param, cache=None, read_timeout_seconds=20) as client:
            await until(lambda: _lists_both(client))
            yield client

    # Entered by the test itself: the client must be left in the task that entered it.
    return connected


async def _lists_both(client: Client) -> bool:
    return len((await client.list_tools()).tools) == 10


async def test_the_client_gets_the_era_that_it_asks_for(connect: Connect) -> None:
    async with connect() as client:
        assert client.protocol_version == ("2025-11-25" if client.mode == "legacy" else "2026-07-28")


async def test_tools_of_all_backends_are_listed_with_their_prefix(connect: Connect) -> None:
    async with connect() as client:
        tools = (await client.list_tools()).tools
        own = ["add", "whoami", "fail", "count", "slow"]
        assert [tool.name for tool in tools] == [f"alpha_{name}" for name in own] + [f"beta_{name}" for name in own]
        assert tools[0].description == "Adds."
        assert tools[0].input_schema["required"] == ["a", "b"]


async def test_a_call_reaches_the_backend_that_its_prefix_names(connect: Connect) -> None:
    async with connect() as client:
        for name in ("alpha", "beta"):
            result = await client.call_tool(f"{name}_whoami", {})
            assert result.structured_content == {"result": name}
        assert (await client.call_tool("alpha_add", {"a": 20, "b": 22})).structured_content == {"result": 42}


async def test_a_failing_tool_is_a_result_and_not_an_error(connect: Connect) -> None:
    async with connect() as client:
        assert (await client.call_tool("alpha_fail", {})).is_error


async def test_resources_are_listed_and_read_by_uri(connect: Connect) -> None:
    async with connect() as client:
        uris = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert uris == ["demo://alpha/doc", "demo://shared", "demo://beta/doc"]
        read = await client.read_resource("demo://beta/doc")
        assert read.contents[0].text == "doc of beta"  # type: ignore[union-attr]


async def test_a_uri_of_two_backends_belongs_to_the_first_by_name(connect: Connect) -> None:
    async with connect() as client:
        read = await client.read_resource("demo://shared")
        assert read.contents[0].text == "shared by alpha"  # type: ignore[union-attr]


async def test_a_uri_of_a_template_is_read_from_its_backend(connect: Connect) -> None:
    async with connect() as client:
        templates = (await client.list_resource_templates()).resource_templates
        assert [each.uri_template for each in templates] == ["demo://alpha/item/{ident}", "demo://beta/item/{ident}"]
        read = await client.read_resource("demo://beta/item/7")
        assert read.contents[0].text == "item 7 of beta"  # type: ignore[union-attr]


async def test_prompts_carry_the_prefix_too(connect: Connect) -> None:
    async with connect() as client:
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["alpha_greet", "beta_greet"]
        prompt = await client.get_prompt("beta_greet", {"who": "Ada"})
        assert prompt.messages[0].content.text == "Hello Ada from beta"  # type: ignore[union-attr]


async def test_progress_of_a_call_arrives_before_its_result(connect: Connect, kind: str) -> None:
    async with connect() as client:
        seen: list[float] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(done)

        result = await client.call_tool("beta_count", {"to": 3}, progress_callback=progress)
        assert result.structured_content == {"result": "counted"}
        # A server that answers in plain JSON drops progress itself.
        assert seen == ([] if kind == "legacy-json" else [0, 1, 2])


@pytest.mark.parametrize("name", ["alpha_nope", "nope", "alpha", ""])
async def test_an_unknown_tool_is_invalid_params(connect: Connect, name: str) -> None:
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool(name, {})
        assert caught.value.code == -32602


async def test_unknown_prompts_and_resources_are_invalid_params(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt("nope", {})
        assert caught.value.code == -32602
        with pytest.raises(MCPError) as caught:
            await client.read_resource("demo://nowhere")
        assert caught.value.code == -32602


async def test_a_completion_is_asked_of_the_prompts_backend(connect: Connect) -> None:
    async with connect() as client:
        # The demo servers complete nothing: their own error shows that the reference was routed.
        with pytest.raises(MCPError) as caught:
            await client.complete(PromptReference(type="ref/prompt", name="beta_greet"), {"name": "who", "value": "A"})
        assert caught.value.code == -32601


async def test_progress_of_calls_at_once_goes_to_the_client_of_each(connect: Connect, kind: str) -> None:
    async def counted(steps: int) -> list[tuple[float, float | None]]:
        seen: list[tuple[float, float | None]] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append((done, total))

        async with connect() as client:
            await client.call_tool("beta_count", {"to": steps}, progress_callback=progress)
        return seen

    for steps, seen in zip((5, 9), await asyncio.gather(counted(5), counted(9)), strict=True):
        assert seen == ([] if kind == "legacy-json" else [(step, steps) for step in range(steps)])
