"""Against real servers of the official SDK, and scripts of bytes where those cannot be made to behave badly."""

import asyncio
import json

import pytest
from tests.gateway.world import PATIENCE_S, until
from tests.mcp.demo import LegacyOnly, call, demo
from tests.mcp.rawserver import (
    INITIALIZED,
    LegacyServer,
    Seen,
    answer,
    error,
    modern,
    raw_server,
    result,
)
from tests.mcp.servers import Counting, served

from vmcp.api.category import ErrorCategory
from vmcp.mcp.backend import BackendError, Era, ListChanged

VARIANTS = [
    {},
    {"json_response": True},
    {"stateless_http": True},
    {"stateless_http": True, "json_response": True},
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_both_eras_of_the_official_sdk(backend_at, variant: dict[str, bool], era: Era) -> None:
    app = Counting(demo().streamable_http_app(**variant))
    with served(app if era is Era.MODERN else LegacyOnly(app)) as origin:
        backend = backend_at(origin + "/mcp")
        await backend.open(timeout=PATIENCE_S)
        assert backend.era is era
        assert backend.revision == ("2026-07-28" if era is Era.MODERN else "2025-11-25")
        assert backend.server_info["name"] == "demo"
        assert "tools" in backend.capabilities
        app.requests.clear()
        for _ in range(5):
            await backend.ping(timeout=PATIENCE_S)
        assert len(app.requests) == 5
        before, added = await call(backend, "add", a=1, b=2)
        assert added["content"] == [{"type": "text", "text": "3"}]
        assert before == []
        listed = await (await backend.request("tools/list", timeout=PATIENCE_S)).response()
        assert [tool["name"] for tool in json.loads(listed.result)["tools"]] == ["add", "progress", "change"]
        read = await backend.request(
            "resources/read", '{"uri":"demo://ü"}'.encode(), name="demo://ü", timeout=PATIENCE_S
        )
        assert json.loads((await read.response()).result)["contents"][0]["text"] == "grüezi"
        unknown = await (await backend.request("no/such", timeout=PATIENCE_S)).response()
        assert unknown.error.code == -32601
        await backend.close()


@pytest.mark.parametrize("wire", ["legacy", "modern", "sse"])
async def test_messages_before_the_response_come_in_order(backend_at, wire: str) -> None:
    server = demo()
    app = server.sse_app() if wire == "sse" else server.streamable_http_app()
    with served(LegacyOnly(app) if wire == "legacy" else app) as origin:
        backend = backend_at(origin + "/sse", wire="sse") if wire == "sse" else backend_at(origin + "/mcp")
        before, done = await call(backend, "progress")
        assert [json.loads(message.params)["progress"] for message in before] == [1, 2, 3]
        assert done["content"][0]["text"] == "done"
        await backend.close()


@pytest.mark.parametrize("wire", ["legacy", "modern", "sse"])
async def test_a_changed_list_is_heard(backend_at, wire: str) -> None:
    server = demo()
    app = server.sse_app() if wire == "sse" else server.streamable_http_app()
    with served(LegacyOnly(app) if wire == "legacy" else app) as origin:
        backend = backend_at(origin + "/sse", wire="sse") if wire == "sse" else backend_at(origin + "/mcp")
        heard: asyncio.Queue[ListChanged] = asyncio.Queue()

        async def listen() -> None:
            async for change in backend.listen():
                heard.put_nowait(change)

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen())
            while heard.empty():
                await call(backend, "change")
                await asyncio.sleep(0.2)
            assert heard.get_nowait() is ListChanged.TOOLS
            listening.cancel()
        await backend.close()


async def test_pings_to_json_servers_share_one_connection(backend_at) -> None:
    app = Counting(demo().streamable_http_app(json_response=True))
    with served(app) as origin:
        backend = backend_at(origin + "/mcp")
        for _ in range(20):
            await backend.ping(timeout=PATIENCE_S)
        assert len(app.clients) == 1


async def test_a_server_that_closes_idle_connections_is_no_failure(backend_at) -> None:
    with served(demo().streamable_http_app(), keep_alive_s=0) as origin:
        backend = backend_at(origin + "/mcp")
        for _ in range(10):
            await backend.ping(timeout=PATIENCE_S)


async def test_no_second_initialize_while_the_session_stands(backend_at, legacy: LegacyServer) -> None:
    async with raw_server(legacy) as server:
        backend = backend_at(server.url)
        for _ in range(5):
            await backend.ping(timeout=PATIENCE_S)
        assert server.methods == ["server/discover", "initialize", "notifications/initialized", *["ping"] * 5]
        assert server.connections == 1
        await backend.close()
        await until(lambda: server.methods[-1] == "DELETE" and legacy.sessions == set())


async def test_a_session_that_the_server_forgot_is_opened_anew(backend_at, legacy: LegacyServer) -> None:
    async with raw_server(legacy) as server:
        backend = backend_at(server.url)
        await backend.ping(timeout=PATIENCE_S)
        legacy.sessions.clear()
        await backend.ping(timeout=PATIENCE_S)
        legacy.sessions.clear()
        reply = await (await backend.request("tools/list", timeout=PATIENCE_S)).response()
        assert reply.result is not None
        assert server.methods.count("initialize") == 3


async def test_many_requests_open_one_session(backend_at, legacy: LegacyServer) -> None:
    async with raw_server(legacy) as server:
        backend = backend_at(server.url)
        await asyncio.gather(*(backend.ping(timeout=PATIENCE_S) for _ in range(20)))
        assert server.methods.count("initialize") == 1


async def test_a_call_whose_session_is_gone_is_sent_again_and_one_that_broke_is_not(backend_at) -> None:
    legacy = LegacyServer()
    calls = 0

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        if seen.message.get("method") == "tools/call" and seen.headers["mcp-session-id"] in legacy.sessions:
            calls += 1
            writer.transport.abort()
        else:
            await legacy(seen, writer)

    async with raw_server(script) as server:
        backend = backend_at(server.url)
        await backend.ping(timeout=PATIENCE_S)
        legacy.sessions.clear()
        with pytest.raises(BackendError) as caught:
            await backend.request("tools/call", b'{"name":"x"}', timeout=PATIENCE_S)
        assert (caught.value.category, caught.value.sent) == (ErrorCategory.CONNECT, True)
        assert calls == 1


@pytest.mark.parametrize("stateless", [False, True])
async def test_an_upgraded_server_is_spoken_to_in_its_new_era(backend_at, stateless: bool) -> None:
    async with raw_server(LegacyServer(stateless=stateless)) as server:
        backend = backend_at(server.url)
        await backend.ping(timeout=PATIENCE_S)
        assert backend.era is Era.LEGACY
        server.script = modern
        await backend.ping(timeout=PATIENCE_S)
        assert backend.era is Era.MODERN
        server.script = LegacyServer(stateless=stateless)
        await backend.ping(timeout=PATIENCE_S)
        assert backend.era is Era.LEGACY


async def test_an_sdk_server_upgraded_on_its_port(backend_at) -> None:
    with served(LegacyOnly(demo().streamable_http_app())) as origin:
        port = int(origin.rpartition(":")[2])
        backend = backend_at(origin + "/mcp")
        await backend.ping(timeout=PATIENCE_S)
        assert backend.era is Era.LEGACY
    with pytest.raises(BackendError) as caught:
        await backend.ping(timeout=PATIENCE_S)
    assert caught.value.category is ErrorCategory.CONNECT
    with served(demo().streamable_http_app(), port=port):
        await backend.ping(timeout=PATIENCE_S)
        assert backend.era is Era.MODERN


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_older_revisions_are_spoken_with_the_headers_that_they_know(backend_at, revision: str) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "initialize":
            assert "mcp-protocol-version" not in seen.headers
            writer.write(answer("200 OK", result(seen, {**INITIALIZED, "protocolVersion": revision})))
        elif seen.message.get("method") == "server/discover":
            writer.write(answer("200 OK", error(seen, -32601)))
        elif "id" not in seen.message:
            writer.write(answer("202 Accepted"))
        else:
            writer.write(answer("200 OK", result(seen, {})))

    async with raw_server(script) as server:
        backend = backend_at(server.url)
        await backend.ping(timeout=PATIENCE_S)
        assert backend.revision == revision
        said = server.requests[-1].headers.get("mcp-protocol-version", "")
        assert said == (revision if revision >= "2025-06-18" else "")


async def test_a_revision_that_nobody_knows_is_protocol(backend_at) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "initialize":
            writer.write(answer("200 OK", result(seen, {**INITIALIZED, "protocolVersion": "2031-01-01"})))
        else:
            writer.write(answer("400 Bad Request", error(seen, -32601)))

    async with raw_server(script) as server:
        with pytest.raises(BackendError, match="revision") as caught:
            await backend_at(server.url).ping(timeout=PATIENCE_S)
        assert caught.value.category is ErrorCategory.PROTOCOL


async def test_an_error_to_initialize_is_asked_about_once_more(backend_at) -> None:
    legacy = LegacyServer()
    refusals = 1

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal refusals
        if seen.message.get("method") == "initialize" and refusals:
            refusals -= 1
            writer.write(answer("200 OK", error(seen, -32603), "mcp-session-id: throw-away"))
        else:
            await legacy(seen, writer)

    async with raw_server(script) as server:
        await backend_at(server.url).ping(timeout=PATIENCE_S)
        assert server.methods.count("initialize") == 2
        refusals = 2
        with pytest.raises(BackendError, match="-32603") as caught:
            await backend_at(server.url).ping(timeout=PATIENCE_S)
        assert caught.value.category is ErrorCategory.PROTOCOL
