"""A backend that costs less than any checker: canned answers without an HTTP parser, in a process of its own.

It answers `initialize`, `notifications/initialized`, `ping`, `server/discover` and any GET, on every address of the
loopback network at one port: 10,000 targets with an address each need one listener. It counts what it answers, so
that all contestants are counted by the same clerk. `GET /count` tells the count, `GET /fail` and `GET /mend` make it
answer 500 and 200.
"""

import argparse
import asyncio
import resource
import socket

import uvloop

_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_SESSION = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: 3f2a9c51\r\ncontent-length: %d\r\n\r\n%b"
)
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
_INITIALIZED = (
    b'{"jsonrpc":"2.0","id":%b,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},'
    b'"serverInfo":{"name":"bench","version":"1"}}}'
)
_UNKNOWN_METHOD = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32601,"message":"Method not found"}}'


class Clerk:
    """Counts, and knows whether the backend is broken just now."""

    def __init__(self) -> None:
        self.answered = 0
        self.broken = False


class Canned(asyncio.Protocol):
    """One connection. A request is taken to arrive in one segment, as it does on loopback."""

    def __init__(self, clerk: Clerk) -> None:
        self._clerk = clerk

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio."""
        self._transport.write(self._answer(data))  # type: ignore[attr-defined]

    def _answer(self, data: bytes) -> bytes:
        clerk = self._clerk
        if data.startswith(b"GET /"):
            if data.startswith(b"GET /count"):
                return _json(b"%d" % clerk.answered)
            if data.startswith(b"GET /fail"):
                clerk.broken = True
            elif data.startswith(b"GET /mend"):
                clerk.broken = False
        clerk.answered += 1
        if clerk.broken:
            return _BROKEN
        head, _, body = data.partition(b"\r\n\r\n")
        if b'"ping"' in body:
            return _json(b'{"jsonrpc":"2.0","id":' + _ident(body) + b',"result":{}}')
        if b'"initialize"' in body:
            text = _INITIALIZED % _ident(body)
            return _SESSION % (len(text), text)
        if b'"server/discover"' in body:
            return _json(_UNKNOWN_METHOD % _ident(body))
        if head.startswith((b"POST", b"DELETE")):
            return _ACCEPTED
        return _json(b"{}")


def _json(text: bytes) -> bytes:
    return _JSON % (len(text), text)


def _ident(body: bytes) -> bytes:
    start = body.index(b'"id":') + 5
    return body[start : min(end for end in (body.find(b",", start), body.find(b"}", start)) if end >= 0)]


async def serve(port: int) -> None:
    """Answer until cancelled."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")  # nobody outside reaches it
    listener.bind(("0.0.0.0", port))
    clerk = Clerk()
    server = await asyncio.get_running_loop().create_server(lambda: Canned(clerk), sock=listener, backlog=16_384)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Print the port, then answer until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
