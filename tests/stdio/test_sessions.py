"""Many clients share one session with the server: each sees its own answers only, under its own ids."""

import asyncio
import random
import sys
from pathlib import Path

import pytest
from mcp import Client
from tests.gateway.asking import Person
from tests.gateway.world import Running, until
from tests.stdio.proxying import CRUDE, TALKING, Speaker, proxy

from vmcp.stdio.local import Command
from vmcp_dev.backends.running import make_repository


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_an_official_client_uses_published_servers(mode: str, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    async with (
        proxy(Command([sys.executable, "-m", "mcp_server_time"])) as time,
        proxy(Command([sys.executable, "-m", "mcp_server_git", "--repository", str(repository)])) as git,
        Client(time.url, mode=mode, cache=None, read_timeout_seconds=30) as one,
        Client(git.url, mode=mode, cache=None, read_timeout_seconds=30) as other,
    ):
        assert one.server_info is not None
        assert one.server_info.name == "mcp-time"
        assert {tool.name for tool in (await one.list_tools()).tools} == {"get_current_time", "convert_time"}
        assert "UTC" in str((await one.call_tool("get_current_time", {"timezone": "UTC"})).content)
        assert "Commit 2" in str((await other.call_tool("git_log", {"repo_path": str(repository)})).content)


async def test_a_client_gets_the_servers_own_greeting_under_a_revision_it_knows() -> None:
    async with proxy(CRUDE) as running:
        latest = await Speaker.open(running)
        older = await Speaker.open(running, version="2025-06-18")
        unknown = await Speaker.open(running, version="1999-01-01")
        assert [each.greeting["protocolVersion"] for each in (latest, older, unknown)] == [
            "2025-11-25",
            "2025-06-18",
            "2025-11-25",
        ]
        assert older.greeting["serverInfo"] == {"name": "crude", "version": "1"}
        assert older.greeting["instructions"] == "Mind the step."
        assert older.greeting["capabilities"]["resources"] == {"subscribe": True}
        # However many clients there are, the server is greeted once, and hears of no client's own greeting.
        assert len(await latest.seen("initialize")) == 1
        assert len(await latest.seen("notifications/initialized")) == 1


async def test_a_server_of_an_older_revision_is_not_shown_as_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUDE_VERSION", "2025-03-26")
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        assert client.greeting["protocolVersion"] == "2025-03-26"


async def test_a_modern_request_is_refused_with_the_revisions_there_are() -> None:
    async with proxy(CRUDE) as running:
        params = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
        message = {"jsonrpc": "2.0", "id": "a", "method": "server/discover", "params": params}
        answer = await running.post(message, MCP_Protocol_Version="2026-07-28", Mcp_Method="server/discover")
        assert answer.status_code == 400
        assert answer.json()["id"] == "a"
        assert answer.json()["error"]["code"] == -32022
        assert answer.json()["error"]["data"] == {
            "supported": ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"],
            "requested": "2026-07-28",
        }


async def test_ids_and_progress_tokens_of_many_clients_never_meet() -> None:
    rng = random.Random(20261124)

    async def client(running: Running, name: str) -> None:
        speaker = await Speaker.open(running)

        async def one(ident: int | str) -> None:
            text = f"{name}-{ident}"
            steps = rng.randrange(4)
            params = {
                "name": "echo",
                "arguments": {"text": text, "steps": steps, "seconds": rng.random() * 0.05},
                "_meta": {"progressToken": ident, "other": text},
            }
            *told, response = await speaker.ask("tools/call", params, ident=ident)
            assert response["id"] == ident
            assert response["result"]["content"][0]["text"] == text
            assert [each["params"]["progress"] for each in told] == list(range(steps))
            assert all(each["params"]["progressToken"] == ident for each in told)

        # The same ids in every client, numbers and the same as strings.
        await asyncio.gather(*(one(ident) for number in range(5) for ident in (number, str(number))))

    async with proxy(CRUDE) as running:
        await asyncio.gather(*(client(running, f"client{number}") for number in range(6)))
        speaker = await Speaker.open(running)
        sent = [message for message in await speaker.seen("tools/call") if message["params"]["name"] == "echo"]
        idents = [message["id"] for message in sent]
        assert len(idents) == len(set(idents)) == 6 * 10
        tokens = [message["params"]["_meta"]["progressToken"] for message in sent]
        assert len(tokens) == len(set(tokens))


async def test_what_the_proxy_does_not_know_passes_through_untouched() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        assert (await client.ask("vendor/method", {"a": [1, {"b": None}]}))[-1]["result"] == {"method": "vendor/method"}
        assert (await client.seen("vendor/method"))[0]["params"] == {"a": [1, {"b": None}]}
        assert await client.fails("nonsense") == {
            "code": -32602,
            "message": "no tool nonsense",
            "data": {"name": "nonsense"},
        }
        assert (await client.post({"method": "vendor/told", "params": {"x": 1}})).status_code == 202
        assert [each["params"] for each in await client.seen("vendor/told")] == [{"x": 1}]
        # A probe's ping is the server's to answer: only so does it show that the server is well.
        await client.ask("ping")
        assert len(await client.seen("ping")) == 1


async def test_answers_to_requests_of_somebody_else_reach_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        assert await client.call("foreign") == "for you"
        assert caplog.text.count("something else is attached") == 1


async def test_a_batch_of_the_revision_that_has_them_is_answered_as_one() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running, version="2025-03-26")
        batch = [
            {"jsonrpc": "2.0", "id": "a", "method": "tools/list"},
            {"jsonrpc": "2.0", "method": "vendor/told"},
            {"jsonrpc": "2.0", "id": 2, "method": "prompts/list"},
        ]
        answer = await running.post(batch, Mcp_Session_Id=client.session)
        assert [(each["id"], each["result"]) for each in answer.json()] == [
            ("a", {"method": "tools/list"}),
            (2, {"method": "prompts/list"}),
        ]


async def test_line_breaks_within_a_message_do_not_break_the_stream() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        pretty = b'{\n "jsonrpc": "2.0",\r\n "id": 3,\n "method": "tools/call",\n "params": {\n  "name": "echo",\n'
        pretty += b'  "arguments": {"text": "a\\nb"}\n }\n}'
        answer = await running.post(pretty, Mcp_Session_Id=client.session)
        assert answer.json()["result"]["content"][0]["text"] == "a\nb"


async def test_progress_logs_and_changes_reach_an_official_client() -> None:
    steps: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        steps.append(done)

    person = Person()
    async with proxy(TALKING) as running, person.client(running.url, "legacy") as client:
        await client.call_tool("count", {"to": 3}, progress_callback=progress)
        await client.call_tool("say", {"text": "careful"})
        await client.call_tool("change", {})
        await until(lambda: person.logged == ["warning"] and len(person.heard) >= 1 and len(steps) == 3)
        assert steps == [0, 1, 2]
        assert str((await client.read_resource("talking://doc")).contents[0]).count("content")
