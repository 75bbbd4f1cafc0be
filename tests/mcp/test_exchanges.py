"""What comes back for one request: messages, an answer, or what a backend makes of it."""

import asyncio
import json
from typing import Any

import pytest
from tests.gateway.world import PATIENCE_S, until
from tests.mcp.demo import call, demo
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
from vmcp.mcp.backend import Address, Backend, BackendError
from vmcp.mcp.exchange import Deadline
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.mcp.jsonrpc import JsonRpcError


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
