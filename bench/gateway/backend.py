"""Backends that cost less than any gateway: canned answers on llhttp and uvloop, in a process of its own.

It is every backend at once: backend n is the address 127.1.n/256.n%256, at one port for each era. `echo` answers 1 KB,
`large` 64 KB. Control is by GET: `/count` tells how many of which methods came, `/mode/<mode>/<count>` makes the last
so many backends `hang` (read and say nothing), `reset` (drop the connection) or `answer` again.
"""

import argparse
import asyncio
import json
import re
import resource
import socket
from collections import Counter
from functools import partial
from typing import Final

import httptools
import uvloop

SMALL: Final = 1024
LARGE: Final = 64 * 1024

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_SESSION = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: 3f2a9c51\r\ncontent-length: %d\r\n\r\n%b"
)
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_NO_STREAM = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n"
_IDENT = re.compile(rb'"id": ?("[^"]*"|\d+)')
_METHOD = re.compile(rb'"method": ?"([^"]*)"')
_INFO = b'{"name":"bench","version":"1"}'
_META = b'"_meta":{"io.modelcontextprotocol/serverInfo":' + _INFO + b"}"
_COMPLETE = b',"resultType":"complete","ttlMs":0,"cacheScope":"private"'


def _text(size: int) -> bytes:
    return b'{"content":[{"type":"text","text":"' + b"x" * (size - 56) + b'"}],"isError":false'


class Clerk:
    """Counts, and knows who behaves how."""

    def __init__(self, backends: int, tools: int) -> None:
        self.counts: Counter[str] = Counter()
        self.backends = backends
        self.misbehaving = 0
        self.mode = "answer"
        schema = {"type": "object", "properties": {"msg": {"type": "string", "description": "What to say."}}}
        names = ["echo", "large", *(f"tool-{number}" for number in range(3, tools + 1))][:tools]
        listed = [{"name": name, "description": f"Says it: {name}.", "inputSchema": schema} for name in names]
        self.tools = json.dumps({"tools": listed}, separators=(",", ":")).encode()[:-1]

    def mode_of(self, number: int) -> str:
        """How this backend behaves just now."""
        return self.mode if number > self.backends - self.misbehaving else "answer"


class Canned(asyncio.Protocol):
    """One connection."""

    def __init__(self, clerk: Clerk, *, modern: bool) -> None:
        self._clerk = clerk
        self._modern = modern
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._url = b""
        self._small, self._large = (
            _text(size) + (b',"resultType":"complete"' if modern else b"") + b"}" for size in (SMALL, LARGE)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        address = transport.get_extra_info("sockname")[0].split(".")
        self._number = int(address[2]) * 256 + int(address[3])
        if self._clerk.mode_of(self._number) == "reset":
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """asyncio."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """llhttp."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """llhttp."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """llhttp."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        url, self._body, self._url = self._url, [], b""
        answer = self._answer(body) if url.startswith(b"/mcp") else self._controlled(url.decode().split("/")[1:])
        if answer:
            self._transport.write(answer)

    def _answer(self, body: bytes) -> bytes:
        clerk = self._clerk
        if clerk.misbehaving and clerk.mode_of(self._number) != "answer":
            if clerk.mode == "reset":
                self._transport.abort()
            return b""
        if not body:
            return _NO_STREAM
        found, ident = _METHOD.search(body), _IDENT.search(body)
        method = found[1] if found else b""
        clerk.counts[method.decode()] += 1
        if ident is None:
            return _ACCEPTED
        if method == b"tools/call":
            return _json(ident[1], self._large if b'"large"' in body else self._small)
        if method == b"tools/list":
            return _json(ident[1], clerk.tools + (_COMPLETE if self._modern else b"") + b"}")
        if self._modern and method == b"server/discover":
            offered = b'{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},'
            return _json(ident[1], offered + _META + _COMPLETE + b"}")
        if not self._modern and method == b"initialize":
            agreed = b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":'
            text = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (ident[1], agreed + _INFO + b"}")
            return _SESSION % (len(text), text)
        if method == b"ping":
            return _json(ident[1], b"{}")
        text = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32601,"message":"Method not found"}}' % ident[1]
        return _HEAD % (len(text), text)

    def _controlled(self, parts: list[str]) -> bytes:
        clerk = self._clerk
        if parts[0] == "mode":
            clerk.mode, clerk.misbehaving = parts[1], int(parts[2])
        text = json.dumps(clerk.counts).encode()
        return _HEAD % (len(text), text)


def _json(ident: bytes, result: bytes) -> bytes:
    text = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (ident, result)
    return _HEAD % (len(text), text)


async def serve(backends: int, tools: int) -> None:
    """Print the ports of the Legacy and the Modern backends, then answer until cancelled."""
    clerk = Clerk(backends, tools)
    loop = asyncio.get_running_loop()
    servers = []
    for modern in (False, True):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")  # nobody outside reaches it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("0.0.0.0", 0))
        servers.append(await loop.create_server(partial(Canned, clerk, modern=modern), sock=listener, backlog=4096))
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Answer until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", type=int, default=200)
    parser.add_argument("--tools", type=int, default=5)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(serve(arguments.backends, arguments.tools))


if __name__ == "__main__":
    main()
