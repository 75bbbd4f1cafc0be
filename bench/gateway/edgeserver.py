"""The same small work behind three HTTP servers: read a call, answer with 1 KB. Which one costs least at the edge?"""

import argparse
import asyncio
from typing import Any, Final

import httptools
import msgspec
import uvloop

SERVERS: Final = ("uvicorn-asgi", "granian-asgi", "granian-rsgi", "llhttp")

_RESULT = b'{"content":[{"type":"text","text":"' + b"x" * 968 + b'"}],"isError":false}'
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"


class _Call(msgspec.Struct):
    id: msgspec.Raw


_call_of = msgspec.json.Decoder(_Call).decode


def answer(body: bytes) -> bytes:
    """The JSON-RPC answer."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (bytes(_call_of(body).id), _RESULT)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """As an ASGI application."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    text = answer(body)
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": text})


async def rsgi(scope: Any, protocol: Any) -> None:
    """As an RSGI application."""
    protocol.response_bytes(200, [("content-type", "application/json")], answer(await protocol()))


class Bare(asyncio.Protocol):
    """As a protocol of asyncio on llhttp, with none of the bounds that a server needs."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """asyncio."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp."""
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """llhttp."""
        self._body += body

    def on_message_complete(self) -> None:
        """llhttp."""
        body, self._body, self._headers = self._body, b"", []
        text = answer(body)
        self._transport.write(_HEAD % (len(text), text))


async def _bare(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.server == "llhttp":
        uvloop.run(_bare(arguments.port))
    elif arguments.server == "uvicorn-asgi":
        import uvicorn

        uvicorn.run(asgi, port=arguments.port, http="httptools", loop="uvloop", access_log=False, log_level="error")
    else:
        from granian import Granian
        from granian.constants import Interfaces, Loops

        kind = arguments.server.removeprefix("granian-")
        granian = Granian(
            f"bench.gateway.edgeserver:{kind}",
            port=arguments.port,
            interface=Interfaces(kind),
            loop=Loops.uvloop,
            workers=1,
            runtime_threads=1,
            log_enabled=False,
        )
        granian.serve()


if __name__ == "__main__":
    main()
