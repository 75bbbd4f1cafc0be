"""Makes a server of the official SDK speak the Legacy era alone, as most servers in the wild still do."""

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Receive, Scope, Send

_VERSION_HEADER = b"mcp-protocol-version"
_KNOWN = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)


class LegacyOnly:
    """Hides a protocol version that a server of the Legacy era would not know.

    The SDK tells the eras apart by that header alone: without it, a Modern request is one that lacks a session.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            headers = [(name, value) for name, value in scope["headers"] if name != _VERSION_HEADER or value in _KNOWN]
            scope = {**scope, "headers": headers}
        await self._app(scope, receive, send)
