"""A transport without sockets: every request is answered within the process, a moment later."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from vmcp.mcp.transport import Request, Response, Transport

ANSWERS_AFTER_S: Final = 0.002
_JSON: Final[Mapping[str, str]] = {"content-type": "application/json"}
_SESSION: Final[Mapping[str, str]] = {"content-type": "application/json", "mcp-session-id": "3f2a9c51"}
_INITIALIZED: Final = (
    b'{"jsonrpc":"2.0","id":%b,"result":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"serverInfo":{"name":"bench","version":"1"}}}'
)
_UNKNOWN_METHOD: Final = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32601,"message":"Method not found"}}'


class SimulatedTransport(Transport):
    """A Legacy server that is always well."""

    async def send(
        self, request: Request, *, timeout: float, fresh: bool = False, reuse_idle_seconds: float = 60.0
    ) -> Response:
        """The canned answer, 2 ms later."""
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        loop.call_later(ANSWERS_AFTER_S, answered.set_result, None)
        await answered
        body = request.body
        if b'"ping"' in body:
            return SimulatedResponse(200, _JSON, b'{"jsonrpc":"2.0","id":' + _ident(body) + b',"result":{}}')
        if b'"initialize"' in body:
            return SimulatedResponse(200, _SESSION, _INITIALIZED % _ident(body))
        if b'"server/discover"' in body:
            return SimulatedResponse(200, _JSON, _UNKNOWN_METHOD % _ident(body))
        return SimulatedResponse(202, {}, b"")

    async def close(self) -> None:
        """Nothing to close."""


class SimulatedResponse(Response):
    """An answer that is there already."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self, *, limit: int, timeout: float) -> bytes:
        """The whole body."""
        return self._body

    async def chunks(self, *, idle_timeout: float) -> AsyncGenerator[bytes, None]:
        """The whole body."""
        yield self._body

    def close(self) -> None:
        """Nothing to close."""


def _ident(body: bytes) -> bytes:
    start = body.index(b'"id":') + 5
    return body[start : min(end for end in (body.find(b",", start), body.find(b"}", start)) if end >= 0)]
