"""Whatever bytes come down a connection, the edge fails no request by its own fault, and keeps nothing of it."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.world import PATIENCE_S, Running, config, entry, gateway_thread

from vmcp.gateway.limits import Limits

LIMITS = Limits(head_s=0.05, body_s=0.05, stall_s=0.2, idle_s=1, head_bytes=4096, headers=20, body_bytes=10_000)
PARTS = [
    b"POST /mcp HTTP/1.1\r\n", b"GET /mcp HTTP/1.1\r\n", b"GET /status HTTP/1.1\r\n", b"DELETE /mcp HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n", b"CONNECT x:1 HTTP/1.1\r\n", b"POST /mcp HTTP/1.0\r\n", b"POST /mcp HTTP/9.9\r\n",
    b"POST http://evil/mcp HTTP/1.1\r\n", b"GET /%2e%2e/%00 HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Host: localhost\r\n", b"Host: evil\r\n", b"Host:\r\n", b"Origin: null\r\n", b"Content-Type: application/json\r\n",
    b"Accept: text/event-stream\r\n", b"Accept: */*\r\n", b"Content-Length: 40\r\n", b"Content-Length: 99999999\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 4, 4\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n", b"Mcp-Session-Id: \xff\xfe\r\n", b"X: a\nb\r\n",
    b" folded\r\n", b"MCP-Protocol-Version: 2026-07-28\r\n", b"MCP-Protocol-Version: 2025-11-25\r\n",
    b"Mcp-Method: tools/call\r\nMcp-Name: =?base64?@@?=\r\n", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"ffffffffffffffffff\r\n", b'{"jsonrpc":"2.0","id":1,"method":"ping"}', b"[[[[[[", b"\x00" * 20, b"x" * 5000,
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}',
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]  # fmt: skip
wires = st.lists(st.sampled_from(PARTS) | st.binary(max_size=30), min_size=1, max_size=12)


class Faults(logging.Handler):
    """Errors that the server logs: exceptions of the application."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    with gateway_thread(folder, config(entry("alpha", "http://127.0.0.1:1/mcp")), limits=LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def faults() -> Iterator[Faults]:
    handler = Faults()
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)


def exchanged(running: Running, chunks: list[bytes]) -> bytes:
    host, port = running.origin.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as sock:
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                sock.sendall(chunk)
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                received += data
    return received


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parts=wires, together=st.booleans())
def test_any_bytes_get_an_answer_that_blames_the_client_or_none(
    running: Running, faults: Faults, parts: list[bytes], together: bool
) -> None:
    received = exchanged(running, [b"".join(parts)] if together else parts)
    assert received == b"" or received.startswith(b"HTTP/1.1 ")
    assert not any(line.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")) for line in received.split(b"\r\n"))
    assert faults.seen == []


def test_nothing_is_kept_of_connections_that_are_over(running: Running) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def many() -> None:
        for _ in range(5):
            await asyncio.gather(
                *(asyncio.to_thread(exchanged, running, [b"POST /mcp HTTP/1.1\r\n"]) for _ in range(20))
            )

    exchanged(running, [b"POST /mcp HTTP/1.1\r\n"])
    before = descriptors()
    asyncio.run(many())
    until = time.monotonic() + PATIENCE_S
    while descriptors() > before + 3:
        assert time.monotonic() < until
        time.sleep(0.05)
