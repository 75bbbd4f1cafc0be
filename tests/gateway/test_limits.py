"""A client that is too slow or too large is cut off, and costs the others nothing: raw sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import PATIENCE_S, BackendServer, Running, config, entry, gateway, until

from vmcp.gateway.limits import Limits

SHORT = Limits(head_s=0.5, body_s=1.0, stall_s=0.5, idle_s=1)
LARGE = 24 * 1024 * 1024
"""More than the kernel's buffers of both sides hold."""


@contextlib.asynccontextmanager
async def served(folder: Path, limits: Limits = SHORT) -> AsyncIterator[Running]:
    large = b'{"content":[{"type":"text","text":"%b"}]}' % (b"x" * LARGE)
    backend = BackendServer(lambda: Scripted({"tools/call": large}, modern=False))
    backend.start()
    try:
        async with gateway(folder, config(entry("alpha", backend.url)), limits=limits) as running:
            yield running
    finally:
        backend.stop()


class Raw:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, running: Running, limit: int = 64 * 1024) -> "Raw":
        host, port = running.origin.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port), limit=limit))

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def rest(self) -> bytes:
        """All that still comes until the gateway ends the connection."""
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            # The end of a connection that is still being sent to takes nothing of what has come before it.
            with contextlib.suppress(ConnectionError):
                while chunk := await self.reader.read(64 * 1024):
                    received += chunk
        return received


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"POST /mcp HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % (len(body) if length is None else length), b"", body])


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


async def answers(running: Running) -> None:
    assert (await running.post(json.loads(PING))).status_code == 200


async def test_a_connection_that_says_nothing_is_ended(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        assert await (await Raw.open(running)).rest() == b""


@pytest.mark.parametrize("drip", [b"a", b"\r\n"])
async def test_a_head_that_drips_is_ended(tmp_path: Path, drip: bytes) -> None:
    async with served(tmp_path) as running:
        client = await Raw.open(running)
        await client.send(b"POST /mcp HTTP/1.1\r\nX-Slow: " if drip == b"a" else b"\r\n")

        async def dripping() -> None:
            while True:
                await client.send(drip)
                await asyncio.sleep(0.1)

        task = asyncio.create_task(dripping())
        answer = await client.rest()
        task.cancel()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
        await answers(running)


@pytest.mark.parametrize("path", [b"/mcp", b"/nowhere"])
async def test_a_body_that_drips_is_ended(tmp_path: Path, path: bytes) -> None:
    async with served(tmp_path) as running:
        client = await Raw.open(running)
        await client.send(post(b"{", length=1000).replace(b"/mcp", path))

        async def dripping() -> None:
            while True:
                await client.send(b" ")
                await asyncio.sleep(0.1)

        task = asyncio.create_task(dripping())
        answer = await client.rest()
        task.cancel()
        assert answer.startswith(b"HTTP/1.1 408 " if path == b"/mcp" else b"HTTP/1.1 404 ")
        await answers(running)


async def test_a_connection_without_a_request_is_ended_after_an_answer_too(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        client = await Raw.open(running)
        await client.send(post(PING))
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_does_not_read_its_answer_is_cut_off(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        session = (await LegacySpeaker.open(running)).session.encode()
        call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"alpha_echo","arguments":{}}}'

        async def listed() -> bool:
            answer = await running.post(
                {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, Mcp_Session_Id=session.decode()
            )
            return "alpha_echo" in answer.text

        await until(listed)
        client = await Raw.open(running, limit=1024)
        await client.send(post(call, b"Mcp-Session-Id: " + session))

        async def cut() -> bool:
            return 'vmcp_gateway_refused_total{reason="reader"} 1.0' in (await running.get("/metrics")).text

        await until(cut)
        received = await client.rest()
        assert len(received) < LARGE


async def test_a_client_that_reads_slowly_but_steadily_gets_everything(tmp_path: Path) -> None:
    async with served(tmp_path, replace(SHORT, stall_s=1.5)) as running:
        speaker = await LegacySpeaker.open(running)
        call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"alpha_echo","arguments":{}}}'

        async def listed() -> bool:
            return "alpha_echo" in (await speaker.ask("tools/list")).text

        await until(listed)
        client = await Raw.open(running)
        await client.send(post(call, b"Connection: close", b"Mcp-Session-Id: " + speaker.session.encode()))
        received = 0
        while chunk := await client.reader.read(1024 * 1024):
            received += len(chunk)
            await asyncio.sleep(0.02)
        assert received > LARGE


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"431"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 2_000_000, b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (post(PING, b"Transfer-Encoding: chunked"), b"400"),
        (post(PING, b"Content-Length: 3"), b"400"),
        (post(PING, b"Host: localhost"), b"400"),
        (post(PING, b"Transfer-Encoding: chunked, identity").replace(b"Content-Length: 40", b"X: y"), b"400"),
        (post(PING, b"X-A: b\nInjected: c"), b"400"),
        (b"POST /mcp HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"421"),
        (post(PING).replace(b"Host: localhost", b"Host: evil.example.com"), b"421"),
        (post(b"[" * 101 + b"]" * 101), b"400"),
    ],
)
async def test_what_is_too_large_or_ambiguous_is_refused(tmp_path: Path, head: bytes, status: bytes) -> None:
    async with served(tmp_path) as running:
        client = await Raw.open(running)
        await client.send(head)
        answer = await client.rest()
        # The end of a connection that is still being sent to may overtake the answer.
        assert answer.startswith(b"HTTP/1.1 " + status) or (answer == b"" and len(head) > 100_000)
        assert answer.count(b"HTTP/1.1 ") <= 1
        await answers(running)


async def test_what_comes_after_a_chunked_body_is_no_header(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        client = await Raw.open(running)
        head = post(b"", b"Transfer-Encoding: chunked", b"Connection: close").replace(b"Content-Length: 0\r\n", b"")
        await client.send(head + b"%x\r\n%b\r\n0\r\nMcp-Session-Id: nope\r\nHost: evil\r\n\r\n" % (len(PING), PING))
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")


async def test_what_comes_after_a_chunked_body_is_bounded_too(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        client = await Raw.open(running)
        await client.send(post(b"", b"Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"") + b"0\r\n")
        await client.send(b"X: y\r\n" * 20_000)
        assert b"200 OK" not in await client.rest()
        await answers(running)


async def test_pipelined_requests_are_answered_in_their_order(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        client = await Raw.open(running)
        first, last = PING.replace(b"1}", b"1}"), PING.replace(b'"id":1', b'"id":2')
        await client.send(post(first) + post(last, b"Connection: close"))
        answer = await client.rest()
        assert answer.index(b'"id":1') < answer.index(b'"id":2')
