"""Against real servers of the official SDK, and scripts of bytes where those cannot be made to behave badly."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from tests.gateway.world import PATIENCE_S, until
from tests.mcp.rawserver import (
    DISCOVERED,
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
from vmcp.mcp.backend import Address, Backend, BackendError, Era, ListChanged, Message
from vmcp.mcp.exchange import Deadline
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.mcp.jsonrpc import JsonRpcError

VARIANTS = [
    {},
    {"json_response": True},
    {"stateless_http": True},
    {"stateless_http": True, "json_response": True},
]


def demo() -> MCPServer:
    server = MCPServer("demo", version="1.0.0")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    async def progress(ctx: Context) -> str:
        for step in (1, 2, 3):
            await ctx.report_progress(step, 3)
        return "done"

    @server.tool()
    async def change(ctx: Context) -> str:
        server.add_tool(lambda: "new", name="later")
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "changed"

    @server.resource("demo://ü")
    def greeting() -> str:
        return "grüezi"

    return server


class LegacyOnly:
    """Puts an SDK server back to the time before Modern, as `mcp` 1.x answers: requests of another era get 400."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version") == b"2026-07-28":
            refusal = b'"error":{"code":-32600,"message":"Bad Request: Missing session ID"}'
            body = b'{"jsonrpc":"2.0","id":"server-error",' + refusal + b"}"
            await send(
                {"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]}
            )
            await send({"type": "http.response.body", "body": body})
        else:
            await self.app(scope, receive, send)


@pytest.fixture
def backend_at(transport: HttpTransport):
    def make(url: str, **more: Any) -> Backend:
        return Backend(transport, Address(url, **more), client_name="test", client_version="1")

    return make


async def call(backend: Backend, name: str, **arguments: Any) -> tuple[list[Message], dict[str, Any]]:
    params = {"name": name, "arguments": arguments, "_meta": {"progressToken": "p"}}
    exchange = await backend.request("tools/call", json.dumps(params).encode(), name=name, timeout=PATIENCE_S)
    before = [message async for message in exchange]
    reply = await exchange.response()
    assert reply.result is not None, reply.error
    return before, json.loads(reply.result)


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


@pytest.fixture(params=["python", "typescript"])
async def legacy(request: pytest.FixtureRequest) -> AsyncIterator[LegacyServer]:
    return LegacyServer(typescript=request.param == "typescript")


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


async def test_requests_of_the_server_are_surfaced_and_ping_is_answered_by_us(backend_at) -> None:
    answers: list[dict[str, Any]] = []

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "server/discover":
            writer.write(answer("200 OK", error(seen, -32601)))
        elif seen.message.get("method") == "initialize":
            writer.write(answer("200 OK", result(seen, INITIALIZED)))
        elif seen.message.get("method") == "tools/call":
            stream = [
                b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
                b'{"jsonrpc":"2.0","id":"1","method":"sampling/createMessage","params":{"x":1}}',
                b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}',
                result(seen, {"content": []}),
            ]
            body = b"".join(b"event: message\r\ndata: " + message + b"\r\n\r\n" for message in stream)
            writer.write(answer("200 OK", body, kind="text/event-stream"))
        else:
            if "result" in seen.message or "error" in seen.message:
                answers.append(seen.message)
            writer.write(answer("202 Accepted"))

    async with raw_server(script) as server:
        exchange = await backend_at(server.url).request("tools/call", b'{"name":"x"}', timeout=PATIENCE_S)
        seen = []
        async for message in exchange:
            seen.append(message.method)
            if message.is_request:
                await exchange.answer(message.id, error=JsonRpcError(-32601, "no"))
        assert (await exchange.response()).result == b'{"content": []}'
        assert seen == ["sampling/createMessage", "notifications/message"]
        assert answers == [
            {"jsonrpc": "2.0", "id": 1, "result": {}},
            {"jsonrpc": "2.0", "id": "1", "error": {"code": -32601, "message": "no"}},
        ]


class Polled:
    """Closes a call's stream and gives the rest to whoever asks with the last id: first nothing, then the answer."""

    def __init__(self, *, retry_ms: int) -> None:
        self.retry_ms = retry_ms
        self.legacy = LegacyServer()
        self.resumed: list[str] = []
        self.call: Seen | None = None

    async def __call__(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        stream = b""
        if seen.message.get("method") == "tools/call":
            self.call = seen
            stream = b"id: first\nretry: %d\ndata:\n\n" % self.retry_ms
        elif seen.method == "GET" and self.call is not None:
            self.resumed.append(seen.headers["last-event-id"])
            last = len(self.resumed) == 2
            stream = b"data: " + result(self.call, {"content": []}) + b"\n\n" if last else b": nothing yet\n\n"
        if stream:
            writer.write(answer("200 OK", stream, kind="text/event-stream"))
        else:
            await self.legacy(seen, writer)


async def test_a_polled_stream_that_had_nothing_new_is_asked_for_again(backend_at) -> None:
    polled = Polled(retry_ms=10)
    async with raw_server(polled) as server:
        exchange = await backend_at(server.url).request("tools/call", b'{"name":"x"}', timeout=PATIENCE_S)
        assert (await exchange.response()).result == b'{"content": []}'
        assert polled.resumed == ["first", "first"]


async def test_a_server_that_wants_to_be_polled_late_does_not_prolong_the_call(backend_at) -> None:
    polled = Polled(retry_ms=600_000)
    async with raw_server(polled) as server:
        backend = backend_at(server.url)
        await backend.open(timeout=PATIENCE_S)
        exchange = await backend.request("tools/call", b'{"name":"x"}', timeout=2)
        async with asyncio.timeout(20):
            with pytest.raises(BackendError) as caught:
                await exchange.response()
        assert caught.value.category is ErrorCategory.TIMEOUT
        assert polled.resumed == []


async def test_an_answer_to_somebody_else_costs_no_connection() -> None:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True), connections_per_origin=1)
    legacy = LegacyServer()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "ping":
            # The stream stays open, as if more were to come.
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            writer.write(b'data: {"jsonrpc":"2.0","id":"other","result":{}}\n\n')
        else:
            await legacy(seen, writer)

    async with raw_server(script) as server:
        backend = Backend(transport, Address(server.url), client_name="t", client_version="0")
        for _ in range(2):
            with pytest.raises(BackendError) as caught:
                await backend.ping(timeout=5)
            assert caught.value.category is ErrorCategory.PROTOCOL
    await transport.close()


async def test_a_life_sign_that_the_server_makes_impossible_costs_no_connection() -> None:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True), connections_per_origin=2)
    legacy = LegacyServer()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "ping":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            writer.write(b'data: {"jsonrpc":"2.0","id":1,"method":"roots/list"}\n\n')
        elif "error" in seen.message:
            writer.write(answer("500 Internal Server Error"))
        else:
            await legacy(seen, writer)

    async with raw_server(script) as server:
        backend = Backend(transport, Address(server.url), client_name="t", client_version="0")
        for _ in range(3):
            with pytest.raises(BackendError) as caught:
                await backend.ping(timeout=5)
            assert caught.value.category is ErrorCategory.HTTP_5XX
    await transport.close()


async def test_a_deadline_moved_too_late_has_passed_all_the_same() -> None:
    now = asyncio.get_running_loop().time
    deadline = Deadline(now())

    async def wait() -> None:
        async with deadline.timeout():
            try:
                await asyncio.Event().wait()
            finally:
                deadline.move(now() + PATIENCE_S)

    with pytest.raises(TimeoutError):
        await wait()


async def test_result_bytes_pass_through_unchanged(backend_at) -> None:
    odd = b'{ "content":[],  "x":1.0e2,"u":"\\u00e9", "big":123456789012345678901234567890 }'

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message["method"] == "server/discover":
            writer.write(answer("200 OK", result(seen, DISCOVERED)))
        else:
            ident = json.dumps(seen.message["id"]).encode()
            writer.write(answer("200 OK", b'{"result":' + odd + b',"jsonrpc":"2.0","id":' + ident + b"}"))

    async with raw_server(script) as server:
        params = b'{"arguments": {"_meta": [1.0e2]}, "_meta" : {"progressToken":7,"traceparent":"t"}, "name":"t"}'
        exchange = await backend_at(server.url).request("tools/call", params, name="naïve", timeout=PATIENCE_S)
        assert (await exchange.response()).result == odd
        seen = server.requests[-1]
        assert b'"arguments":{"_meta": [1.0e2]}' in seen.body
        assert seen.message["params"]["_meta"] == {
            "progressToken": 7,
            "traceparent": "t",
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        }
        assert seen.headers["mcp-method"] == "tools/call"
        assert seen.headers["mcp-name"] == "=?base64?bmHDr3Zl?="


async def test_configured_headers_are_sent_but_those_of_the_protocol_are_ours(backend_at) -> None:
    async with raw_server(modern) as server:
        headers = (("X-Team", "a"), ("Content-Length", "0"), ("Mcp-Session-Id", "x"), ("Transfer-Encoding", "chunked"))
        await backend_at(server.url, headers=headers).ping(timeout=PATIENCE_S)
        seen = server.requests[0].headers
        assert seen["x-team"] == "a"
        assert not {"mcp-session-id", "transfer-encoding"} & set(seen)


async def test_a_server_without_a_change_stream_says_so(backend_at, legacy: LegacyServer) -> None:
    async with raw_server(modern) as server:
        with pytest.raises(BackendError) as caught:
            await anext(backend_at(server.url).listen())
        assert caught.value.category is ErrorCategory.HTTP_4XX


async def test_cancelling_a_legacy_call_tells_the_server(backend_at) -> None:
    legacy = LegacyServer()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "tools/call":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hold\n\n")
        else:
            await legacy(seen, writer)

    async with raw_server(script) as server:
        backend = backend_at(server.url)
        exchange = await backend.request("tools/call", b'{"name":"x"}', timeout=PATIENCE_S)
        await exchange.cancel(reason="user")
        await until(lambda: server.methods[-1] == "notifications/cancelled")
        said = server.requests[-1].message
        assert said["params"] == {"requestId": json.loads(exchange.request_id), "reason": "user"}
        with pytest.raises(BackendError):
            await exchange.response()


async def test_sse_wire_refuses_a_message_url_elsewhere(backend_at) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: endpoint\ndata: http://10.0.0.1/x\n\n"
        )

    async with raw_server(script) as server:
        with pytest.raises(BackendError) as caught:
            await backend_at(server.url, wire="sse").ping(timeout=PATIENCE_S)
        assert caught.value.category is ErrorCategory.FORBIDDEN


async def test_sse_wire_keeps_one_stream_and_opens_another_when_it_ends(backend_at) -> None:
    app = Counting(demo().sse_app())
    with served(app) as origin:
        port = int(origin.rpartition(":")[2])
        backend = backend_at(origin + "/sse", wire="sse")
        for _ in range(5):
            await backend.ping(timeout=PATIENCE_S)
        assert [method for method, _ in app.requests].count("GET") == 1
    with pytest.raises(BackendError) as caught:
        await backend.ping(timeout=PATIENCE_S)
    assert caught.value.category is ErrorCategory.CONNECT
    with served(demo().sse_app(), port=port):
        await backend.ping(timeout=PATIENCE_S)
        assert (await call(backend, "add", a=1, b=2))[1]["content"][0]["text"] == "3"
        await backend.close()


async def test_an_answer_cut_at_any_byte_is_a_failure_and_never_a_hang(backend_at) -> None:
    cut = 0

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "server/discover":
            writer.write(answer("200 OK", result(seen, DISCOVERED)))
            return
        whole = answer("200 OK", result(seen, {"content": []}))
        writer.write(whole[:cut] if cut < len(whole) else whole)
        await writer.drain()
        writer.close()

    async with raw_server(script) as server:
        backend = backend_at(server.url)
        await backend.open(timeout=PATIENCE_S)
        categories: set[ErrorCategory] = set()
        whole = None
        while whole is None:
            try:
                exchange = await backend.request("tools/call", b'{"name":"x"}', name="x", timeout=PATIENCE_S)
                whole = await exchange.response()
            except BackendError as error:
                categories.add(error.category)
                cut += 1
        assert cut > 100
        assert categories == {ErrorCategory.CONNECT}
        assert whole.result == b'{"content": []}'


@pytest.mark.parametrize(
    ("status", "kind", "body", "spoke"),
    [
        ("503 Service Unavailable", "application/json", "jsonrpc", True),
        ("502 Bad Gateway", "application/json; charset=utf-8", "jsonrpc", True),
        ("504 Gateway Timeout", "application/json", '{"message":"upstream timeout"}', False),
        ("503 Service Unavailable", "text/html", "jsonrpc", False),
        ("503 Service Unavailable", "application/json", "", False),
        ("500 Internal Server Error", "application/json", "jsonrpc", False),
    ],
)
async def test_a_proxys_503_is_told_from_a_servers_own(
    transport: HttpTransport, status: str, kind: str, body: str, spoke: bool
) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        if seen.message.get("method") == "server/discover":
            writer.write(answer("200 OK", result(seen, DISCOVERED)))
        else:
            said = error(seen, -32603) if body == "jsonrpc" else body.encode()
            writer.write(answer(status, said, kind=kind))

    async with raw_server(script) as server:
        backend = Backend(transport, Address(server.url), client_name="t", client_version="0")
        with pytest.raises(BackendError) as caught:
            await backend.request("tools/call", b'{"name":"x"}', name="x", timeout=PATIENCE_S)
        assert caught.value.spoke is spoke
        assert caught.value.http_status == int(status[:3])
