"""Backends that misbehave, each a script of bytes for a real socket server, with the category that a probe must see."""

import asyncio
import gzip
import socket
import struct
import time
from dataclasses import dataclass
from email.utils import formatdate

from tests.mcp.rawserver import DISCOVERED, INITIALIZED, Script, Seen, answer, error, result

from vmcp.api.category import ErrorCategory


@dataclass(frozen=True)
class Fault:
    name: str
    script: Script
    category: ErrorCategory | None
    says: str
    """Must be in the sentence for a person."""
    retry_after_s: tuple[float, float] | None = None
    """Between these."""


async def _limited_for_200_s_by_date(seen: Seen, writer: asyncio.StreamWriter) -> None:
    until = formatdate(time.time() + 200, usegmt=True)
    writer.write(answer("429 Too Many Requests", b"", f"retry-after: {until}"))


def _always(data: bytes) -> Script:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return script


def _jsonrpc(status: str, *, code: int) -> Script:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status, error(seen, code)))

    return script


async def _hang(_: Seen, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST, not FIN: what a crashed server's host or a stateful middlebox sends."""
    at_once = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()


async def _abort(_: Seen, writer: asyncio.StreamWriter) -> None:
    _reset(writer)


async def _reset_in_body(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{"jsonrpc"')
    await writer.drain()
    await asyncio.sleep(0.05)
    _reset(writer)


async def _ends_in_body(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{"jsonrpc"')
    await writer.drain()
    writer.close()


def _endless(head: bytes, piece: bytes) -> Script:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return script


async def _slow_loris(_: Seen, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)


async def _trickling_stream(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    while True:
        writer.write(b": still there\n\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _wrong_id(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", b'{"jsonrpc":"2.0","id":99999,"result":{}}'))


async def _error_to_ping(seen: Seen, writer: asyncio.StreamWriter) -> None:
    method = seen.message.get("method")
    if method == "initialize":
        writer.write(answer("200 OK", result(seen, INITIALIZED)))
    elif "id" not in seen.message:
        writer.write(answer("202 Accepted"))
    else:
        writer.write(answer("200 OK", error(seen, -32603)))


async def _error_to_later_discover(seen: Seen, writer: asyncio.StreamWriter) -> None:
    if seen.message["id"] == 1:
        writer.write(answer("200 OK", result(seen, DISCOVERED)))
    else:
        writer.write(answer("400 Bad Request", error(seen, -32020, ident=None)))


async def _closes_after_each_answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", result(seen, DISCOVERED)))
    await writer.drain()
    writer.close()


async def _stream_without_response(_: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(answer("200 OK", b"data: \n\n", kind="text/event-stream"))


_HTML = b"<html><body>Welcome to nginx!</body></html>"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
_JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

FAULTS = [
    Fault("hangs", _hang, ErrorCategory.TIMEOUT, "within 0.6 s"),
    Fault("resets", _abort, ErrorCategory.CONNECT, "closed the connection"),
    Fault("resets in the body", _reset_in_body, ErrorCategory.CONNECT, "closed the connection"),
    Fault("ends in the body", _ends_in_body, ErrorCategory.CONNECT, "closed the connection"),
    Fault("html", _always(answer("200 OK", _HTML, kind="text/html")), ErrorCategory.PROTOCOL, "HTML"),
    Fault("text", _always(answer("200 OK", b"ok", kind="text/plain")), ErrorCategory.PROTOCOL, "MCP server"),
    Fault("other json", _always(answer("200 OK", b'{"status":"up"}')), ErrorCategory.PROTOCOL, "JSON-RPC"),
    Fault("deep json", _always(answer("200 OK", b"[" * 500_000)), ErrorCategory.PROTOCOL, "JSON-RPC"),
    Fault(
        "401",
        _always(answer("401 Unauthorized", b"", "www-authenticate: Bearer")),
        ErrorCategory.AUTH_REQUIRED,
        "credentials",
    ),
    Fault("403", _always(answer("403 Forbidden")), ErrorCategory.AUTH_REQUIRED, "403"),
    Fault("404 html", _always(answer("404 Not Found", _HTML, kind="text/html")), ErrorCategory.HTTP_4XX, "path"),
    Fault("405", _always(answer("405 Method Not Allowed")), ErrorCategory.HTTP_4XX, "POST"),
    Fault("406", _always(answer("406 Not Acceptable")), ErrorCategory.HTTP_4XX, "406"),
    Fault("406 with JSON-RPC", _jsonrpc("406 Not Acceptable", code=-32600), ErrorCategory.HTTP_4XX, "406"),
    Fault("421", _always(answer("421 Misdirected Request", b"no", kind="text/plain")), ErrorCategory.HTTP_4XX, "Host"),
    Fault(
        "redirect loop",
        _always(answer("307 Temporary Redirect", b"", "location: /mcp")),
        ErrorCategory.REDIRECT,
        "final URL",
    ),
    Fault("500", _always(answer("500 Internal Server Error", _HTML, kind="text/html")), ErrorCategory.HTTP_5XX, "500"),
    Fault("500 with JSON-RPC", _jsonrpc("500 Internal Server Error", code=-32603), ErrorCategory.HTTP_5XX, "500"),
    Fault("502", _always(answer("502 Bad Gateway")), ErrorCategory.HTTP_5XX, "502"),
    Fault("503", _always(answer("503 Service Unavailable")), ErrorCategory.HTTP_5XX, "503"),
    Fault(
        "503 with Retry-After",
        _always(answer("503 Service Unavailable", b"", "retry-after: 7")),
        ErrorCategory.OVERLOADED,
        "overloaded",
        (7, 7),
    ),
    Fault(
        "429 in seconds",
        _always(answer("429 Too Many Requests", b"", "Retry-After: 12")),
        ErrorCategory.RATE_LIMITED,
        "429",
        (12, 12),
    ),
    Fault(
        "429 for a day",
        _always(answer("429 Too Many Requests", b"", "retry-after: 86400")),
        ErrorCategory.RATE_LIMITED,
        "429",
        (300, 300),
    ),
    Fault(
        "429 by date",
        _limited_for_200_s_by_date,
        ErrorCategory.RATE_LIMITED,
        "429",
        (1, 200),
    ),
    Fault("429 bare", _always(answer("429 Too Many Requests")), ErrorCategory.RATE_LIMITED, "429"),
    Fault("JSON-RPC error to all", _jsonrpc("200 OK", code=-32603), ErrorCategory.PROTOCOL, "-32603"),
    Fault("JSON-RPC error to ping", _error_to_ping, None, ""),
    Fault("Modern error to discover", _error_to_later_discover, None, ""),
    Fault("closes after each answer", _closes_after_each_answer, None, ""),
    Fault("202 to a request", _always(answer("202 Accepted")), ErrorCategory.PROTOCOL, "202"),
    Fault("204 to a request", _always(b"HTTP/1.1 204 No Content\r\n\r\n"), ErrorCategory.PROTOCOL, "204"),
    Fault("foreign id", _wrong_id, ErrorCategory.PROTOCOL, "id"),
    Fault("stream without a response", _stream_without_response, ErrorCategory.PROTOCOL, "without a response"),
    Fault("trickling stream", _trickling_stream, ErrorCategory.TIMEOUT, "within 0.6 s"),
    Fault("slow loris", _slow_loris, ErrorCategory.TIMEOUT, "within 0.6 s"),
    Fault("endless body", _endless(_JSON_HEAD + b"\r\n", b" " * 50_000), ErrorCategory.PROTOCOL, "longer"),
    Fault(
        "endless stream", _endless(_STREAM_HEAD, b'data: {"method":"x"}\n\n' * 1000), ErrorCategory.PROTOCOL, "longer"
    ),
    Fault("endless header", _endless(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 5_000), ErrorCategory.PROTOCOL, "header"),
    Fault("endless headers", _endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 100), ErrorCategory.PROTOCOL, "header"),
    Fault(
        "gzip bomb",
        _always(answer("200 OK", gzip.compress(bytes(10_000_000)), "content-encoding: gzip")),
        ErrorCategory.PROTOCOL,
        "compressed",
    ),
    Fault("ssh", _always(b"SSH-2.0-OpenSSH_9.6\r\n"), ErrorCategory.PROTOCOL, "HTTP"),
]
