"""The short way of a call is not to be noticed: whatever a backend does, the client gets what it gets otherwise."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker, events
from tests.gateway.world import Running, config, entry, gateway, until

from vmcp.gateway.limits import Limits

Script = Sequence[bytes | float | None]
"""What is written, seconds to wait, None = the end of the connection."""

JSON = b"content-type: application/json\r\n"
STREAM = b"content-type: text/event-stream\r\n"
# A page of this machine may call; a request that a page sends takes the ordinary way.
OTHERWISE = {"Origin": "http://localhost"}


def whole(body: bytes, status: bytes = b"200 OK", kind: bytes = JSON) -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, kind, len(body), body)


def chunked(*pieces: bytes, kind: bytes = JSON) -> list[bytes | float | None]:
    head = b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n" % kind
    return [head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


def result(text: str = "said") -> bytes:
    content = json.dumps([{"type": "text", "text": text}]).encode()
    return b'{"jsonrpc":"2.0","id":%ID%,"result":{"content":' + content + b"}}"


def event(message: bytes) -> bytes:
    return b"event: message\ndata: " + message + b"\n\n"


PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}'
ERROR = b'{"jsonrpc":"2.0","id":%ID%,"error":{"code":-32602,"message":"no such thing"}}'

ANSWERS: dict[str, Script] = {
    "at once": [whole(result())],
    "in pieces": [whole(result())[:60], 0.02, whole(result())[60:90], 0.02, whole(result())[90:]],
    "chunked": chunked(result()[:30], result()[30:]),
    "after a while": [0.3, whole(result())],
    "long": [whole(result("x" * 300_000))],
    "in a type with a charset": [whole(result(), kind=b"content-type: application/json; charset=UTF-8\r\n")],
    "with odd members": [whole(b'{"id":%ID%, "result": {"a":[1, 2.50, null]}, "x": 1, "jsonrpc":"2.0"}')],
    "an error": [whole(ERROR)],
    "an error under 400": [whole(ERROR, b"400 Bad Request")],
    "a stream of one": chunked(event(result()), kind=STREAM),
    "a stream of one in pieces": [
        *chunked(event(result())[:20], kind=STREAM)[:2], 0.02, *chunked(event(result())[20:])[1:]
    ],
    "a stream that stays open": [*chunked(event(result()), kind=STREAM)[:2], 0.3, b"0\r\n\r\n"],
    "a stream with a prime event": chunked(b"id: 1\ndata: \n\n", event(result()), kind=STREAM),
    "a stream of nothing": chunked(b": hello\n\n", kind=STREAM),
    "a stream of an error": chunked(event(ERROR), kind=STREAM),
    "a stream with progress": chunked(event(PROGRESS), event(result()), kind=STREAM),
    "a stream with progress, and later": [
        *chunked(event(PROGRESS), kind=STREAM)[:2], 0.2, *chunked(event(result()))[1:]
    ],
    "another request's answer": [whole(b'{"jsonrpc":"2.0","id":"nobody","result":{}}')],
    "no JSON": [whole(b"{")],
    "a page": [whole(b"<html>", kind=b"content-type: text/html\r\n")],
    "nothing under 500": [whole(b"", b"500 Internal Server Error")],
    "nothing under 202": [whole(b"", b"202 Accepted")],
    "half of it": [whole(result())[:-9], None],
    "no HTTP": [b"well, well\r\n\r\n", None],
    "the end": [None],
}  # fmt: skip


class Peculiar:
    """An MCP server of one tool, which answers as it is told."""

    def __init__(self, *, modern: bool) -> None:
        self.modern = modern
        self.answer: Script = ANSWERS["at once"]
        self.called = asyncio.Event()
        self.calls: list[dict[str, Any]] = []
        self.heads: list[bytes] = []

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                message = json.loads(body) if body else {}
                if message.get("method") == "tools/call":
                    self.calls.append(message)
                    self.heads.append(head)
                    self.called.set()
                    await self._play(message["id"], writer)
                elif "id" in message:
                    writer.write(whole(self._plain(message["method"], json.dumps(message["id"]).encode())))
                else:
                    writer.write(whole(b"", b"202 Accepted" if body else b"405 Method Not Allowed"))
        writer.close()

    async def _play(self, ident: Any, writer: asyncio.StreamWriter) -> None:
        for step in self.answer:
            if step is None:
                writer.close()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            else:
                # The length that the script has stays true: both are four bytes long.
                writer.write(step.replace(b"%ID%", json.dumps(ident).encode().rjust(4)))
                await writer.drain()

    def _plain(self, method: str, ident: bytes) -> bytes:
        tail = b',"resultType":"complete","ttlMs":0,"cacheScope":"private"}' if self.modern else b"}"
        offered = b'"capabilities":{"tools":{}}'
        results = {"tools/list": b'{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]' + tail}
        if self.modern:
            results["server/discover"] = b'{"supportedVersions":["2026-07-28"],' + offered + tail
        else:
            info = b',"serverInfo":{"name":"peculiar","version":"1"}}'
            results |= {"initialize": b'{"protocolVersion":"2025-11-25",' + offered + info, "ping": b"{}"}
        if method not in results:
            return b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32601,"message":"unknown"}}' % ident
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (ident, results[method])


@contextlib.asynccontextmanager
async def world(
    folder: Path, *, modern: bool = False, limits: Limits | None = None, **more: Any
) -> AsyncIterator[tuple[Peculiar, Running, LegacySpeaker | ModernSpeaker]]:
    backend = Peculiar(modern=modern)
    async with backend.serve() as url, gateway(folder, config(entry("p", url), **more), limits=limits) as running:
        client = ModernSpeaker(running) if modern else await LegacySpeaker.open(running)

        async def listed() -> bool:
            return "p_echo" in (await client.ask("tools/list")).text

        await until(listed)
        yield backend, running, client


CALL = {"name": "p_echo", "arguments": {"text": "a é 😀", "n": [1, 2.50]}}


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
async def test_the_short_way_answers_as_the_ordinary_way_does(tmp_path: Path, modern: bool) -> None:
    # No health check may take the backend out meanwhile, nor any local breaker.
    quiet = {"operational": {"failureHandling": {"healthCheckInterval": "1h"}}}
    async with world(tmp_path, modern=modern, **quiet) as (backend, _, client):
        for name, answer in ANSWERS.items():
            backend.answer = answer
            short = await client.ask("tools/call", CALL)
            ordinary = await client.ask("tools/call", CALL, **OTHERWISE)
            first, second = backend.calls[-2:]
            assert (first["params"], first["method"]) == (second["params"], second["method"]), name
            assert first["params"]["name"] == "echo", name
            assert short.status_code == ordinary.status_code, name
            assert short.headers["content-type"] == ordinary.headers["content-type"], name
            if "event-stream" in short.headers["content-type"]:
                assert events(short.text) == events(ordinary.text), name
            else:
                assert short.content == ordinary.content, name


@pytest.mark.parametrize("modern", [False, True], ids=["legacy", "modern"])
async def test_trace_context_passes_on_alike_on_both_ways(tmp_path: Path, modern: bool) -> None:
    context = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "x=y"}
    async with world(tmp_path, modern=modern) as (backend, _, client):
        for headers in (context, {"traceparent": "nonsense"}, {**context, "Connection": "traceparent"}):
            backend.heads.clear()
            await client.ask("tools/call", CALL, **headers)
            await client.ask("tools/call", CALL, **headers, **OTHERWISE)
            short, ordinary = (
                sorted(line for line in head.split(b"\r\n") if not line.startswith(b"content-length"))
                for head in backend.heads
            )
            assert short == ordinary
            assert (b"traceparent: " in b"".join(short)) is (headers is context)


async def test_a_call_on_the_short_way_can_be_cancelled(tmp_path: Path) -> None:
    async with world(tmp_path) as (backend, _, client):
        assert isinstance(client, LegacySpeaker)
        backend.answer = [3600.0]
        under_way = asyncio.create_task(client.ask("tools/call", CALL, ident="mine"))
        await backend.called.wait()
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "mine"}}
        assert (await client.send(cancelled)).status_code == 202
        assert "cancelled" in (await under_way).text


async def test_the_end_of_a_session_ends_its_call_on_the_short_way(tmp_path: Path) -> None:
    async with world(tmp_path) as (backend, running, client), asyncio.timeout(20):
        assert isinstance(client, LegacySpeaker)
        backend.answer = [3600.0]
        under_way = asyncio.create_task(client.ask("tools/call", CALL))
        await backend.called.wait()
        reader, writer = await connect(running)
        writer.write(request(client.session, b"", method=b"DELETE"))
        assert b" 200 " in await reader.readuntil(b"\r\n")
        writer.close()
        assert "session ended" in (await under_way).text


async def test_pipelined_calls_are_answered_in_order(tmp_path: Path) -> None:
    async with world(tmp_path) as (backend, running, client), asyncio.timeout(20):
        assert isinstance(client, LegacySpeaker)
        backend.answer = [0.05, whole(result())]
        reader, writer = await connect(running)
        writer.write(call(client.session, 1) + call(client.session, 2))
        await asyncio.sleep(0.01)
        writer.write(call(client.session, 3))
        assert [(await answer(reader))["id"] for _ in range(3)] == [1, 2, 3]
        writer.close()


async def test_a_call_that_comes_in_pieces_is_answered(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, running, client), asyncio.timeout(20):
        assert isinstance(client, LegacySpeaker)
        reader, writer = await connect(running)
        sent = call(client.session, 5)
        for cut in (1, 40, sent.index(b"\r\n\r\n") + 4, len(sent) - 3):
            for piece in (sent[:cut], sent[cut:]):
                writer.write(piece)
                await asyncio.sleep(0.02)
            assert (await answer(reader))["id"] == 5
        writer.close()


async def test_garbage_after_a_call_does_not_become_part_of_its_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as (backend, running, client), asyncio.timeout(20):
        assert isinstance(client, LegacySpeaker)
        backend.answer = [0.05, whole(result())]
        reader, writer = await connect(running)
        writer.write(call(client.session, 5) + b"\x00\x01 nonsense\r\n\r\n")
        assert b"400" not in await reader.read()
        writer.close()


async def test_a_connection_with_calls_on_it_stays_and_an_idle_one_is_closed(tmp_path: Path) -> None:
    async with world(tmp_path, limits=Limits(idle_s=3)) as (_, running, client), asyncio.timeout(30):
        assert isinstance(client, LegacySpeaker)
        reader, writer = await connect(running)
        for ident in range(9):
            writer.write(call(client.session, ident))
            assert (await answer(reader))["id"] == ident
            await asyncio.sleep(0.4)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_leaves_gives_its_call_up(tmp_path: Path) -> None:
    async with world(tmp_path) as (backend, running, client), asyncio.timeout(20):
        assert isinstance(client, LegacySpeaker)
        backend.answer = [3600.0]
        _, writer = await connect(running)
        writer.write(call(client.session, 9))
        await backend.called.wait()
        writer.close()

        async def counted() -> bool:
            return 'outcome="cancelled"' in (await running.get("/metrics")).text

        await until(counted)


async def test_calls_of_both_ways_are_counted_alike(tmp_path: Path) -> None:
    async with world(tmp_path) as (_, running, client):
        await client.ask("tools/call", CALL)
        await client.ask("tools/call", CALL, **OTHERWISE)
        text = (await running.get("/metrics")).text
        assert 'vmcp_gateway_calls_total{backend="p",method="tools/call",outcome="ok"} 2.0' in text


async def test_a_modern_envelope_that_is_not_in_order_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path, modern=True) as (_, _, client):
        assert isinstance(client, ModernSpeaker)
        assert (await client.ask("tools/call", CALL, Mcp_Name="another")).status_code == 400
        assert (await client.ask("tools/call", CALL, Mcp_Method="tools/list")).status_code == 400
        assert (await client.ask("tools/call", CALL, meta={})).status_code == 400
        assert (await client.ask("tools/call", CALL)).json()["result"]["content"][0]["text"] == "said"


async def connect(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = running.origin.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


def request(session: str, body: bytes, *, method: bytes = b"POST") -> bytes:
    head = b"%b /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\n" % method
    head += b"content-type: application/json\r\nmcp-session-id: %b\r\n" % session.encode()
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def call(session: str, ident: int) -> bytes:
    message = {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": CALL}
    return request(session, json.dumps(message).encode())


async def answer(reader: asyncio.StreamReader) -> Any:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return json.loads(await reader.readexactly(int(length)))
