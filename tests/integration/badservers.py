"""Servers that are no good MCP backends, on real sockets: each answers every request in its own wrong way."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

from tests.integration.stage import free_port

RPC_ERROR = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}})


def _answer(status: str, body: str = "", *headers: str, media: str = "text/plain") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {media}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


ANSWERS: dict[str, bytes] = {
    "html": _answer("200 OK", "<html>hello</html>", media="text/html"),
    "error-500": _answer("500 Internal Server Error", "oops"),
    "auth-401": _answer("401 Unauthorized", "", 'WWW-Authenticate: Bearer realm="x"'),
    "refuses-406": _answer("406 Not Acceptable", "no"),
    "limited-429": _answer("429 Too Many Requests", "slow down", "Retry-After: 1"),
    "redirect": _answer("302 Found", "", "Location: http://127.0.0.1:1/mcp"),
    "rpc-error": _answer("200 OK", RPC_ERROR, media="application/json"),
    "endless": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
}
"""By name; `endless` then goes on for ever."""

CATEGORIES = {
    "html": "protocol",
    "error-500": "http_5xx",
    "auth-401": "auth_required",
    "refuses-406": "http_4xx",
    "limited-429": "rate_limited",
    "redirect": "redirect",
    "rpc-error": "protocol",
    "endless": "protocol",
    "refused": "connect",
    "hangs": "timeout",
    "nowhere": "dns",
    "metadata": "forbidden",
}
STATUSES = {"auth-401": "unauthenticated", "limited-429": "degraded"}
"""Of those that are not `unavailable`."""


@contextlib.contextmanager
def bad_servers() -> Iterator[dict[str, str]]:
    """URL by name, for each of CATEGORIES."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    urls = {"nowhere": "http://no-such-host.invalid/mcp", "metadata": "http://169.254.169.254/mcp"}
    urls["refused"] = f"http://127.0.0.1:{free_port()}/mcp"
    servers = []
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        urls["hangs"] = f"http://127.0.0.1:{hanging.getsockname()[1]}/mcp"
        for name, answer in ANSWERS.items():
            started = asyncio.start_server(_serving(name, answer), "127.0.0.1", 0)
            server = asyncio.run_coroutine_threadsafe(started, loop).result(10)
            servers.append(server)
            urls[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        try:
            yield urls
        finally:
            for server in servers:
                loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


def _serving(name: str, answer: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next(
                    (int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0
                )
                await reader.readexactly(length)
                writer.write(answer)
                await writer.drain()
                while name == "endless":
                    writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
                    await writer.drain()
        writer.close()

    return serve
