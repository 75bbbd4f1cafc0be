"""One backend on the wire: its era, its kept session, and one verb to ask it something."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vmcp.mcp.errors import BackendError
from vmcp.mcp.jsonrpc import JsonRpcError, Message
from vmcp.mcp.transport import Peer, Transport

JsonObject = dict[str, Any]


class Era(StrEnum):
    """The two protocol families of MCP."""

    LEGACY = "legacy"
    """2024-11-05 to 2025-11-25: `initialize`, sessions."""
    MODERN = "modern"
    """2026-07-28: stateless, `_meta` with every request."""


class ListChanged(StrEnum):
    """Which of a backend's lists changed."""

    TOOLS = "tools"
    PROMPTS = "prompts"
    RESOURCES = "resources"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a backend is and how it is reached. `wire` is `streamable-http` or `sse`."""

    url: str
    wire: str = "streamable-http"
    headers: tuple[tuple[str, str], ...] = ()
    peer: Peer = Peer()


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a request: exactly one of `result` (raw JSON) and `error`. `raw` is the whole message as it came."""

    result: bytes | None
    error: JsonRpcError | None
    raw: bytes


class Exchange:
    """One request under way. Iterate for the messages before the response, then (or at once) await `response`.

    Attributes:
        streaming: the answer is a stream, so that messages may come before the response; False = await `response`.
        request_id: id of the request on the wire, as JSON.
    """

    streaming: bool
    request_id: bytes

    def __aiter__(self) -> AsyncIterator[Message]:
        """Notifications and requests of the server, in order (`ping` is answered by us). Raises BackendError."""
        raise NotImplementedError

    async def response(self) -> Reply:
        """The response; messages not iterated are dropped. Raises BackendError."""
        raise NotImplementedError

    async def answer(self, ident: bytes, *, result: bytes | None = None, error: JsonRpcError | None = None) -> None:
        """Answer a request of the server (`Message.id`), Legacy only. Raises BackendError."""
        raise NotImplementedError

    async def cancel(self, *, reason: str = "") -> None:
        """Give the call up and tell the server, best effort, within a second."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the call up at once, without a word. Does nothing after the response."""
        raise NotImplementedError


class Backend:
    """Owns the era and the kept session of one backend. Safe for concurrent requests.

    Attributes:
        era: None while unknown.
        revision: protocol revision agreed on, empty while unknown.
        capabilities: what the server says it can, as it said it.
        server_info: name and version of the server, as it said them.
    """

    era: Era | None
    revision: str
    capabilities: JsonObject
    server_info: JsonObject

    def __init__(self, transport: Transport, address: Address, *, client_name: str, client_version: str) -> None:
        self.era = None
        self.revision = ""
        self.capabilities = {}
        self.server_info = {}
        self._opening = asyncio.Lock()

    async def open(self, *, timeout: float) -> None:
        """Detect the era and, in Legacy, open the session. Returns at once when open.

        Raises:
            BackendError: no session within `timeout` seconds.
        """
        raise NotImplementedError

    async def ping(self, *, timeout: float) -> None:
        """The cheapest correct POST that shows that the backend answers; opens first where needed.

        Raises:
            BackendError: no answer within `timeout` seconds in all, or one that is no sign of life.
        """
        raise NotImplementedError

    async def request(
        self,
        method: str,
        params: bytes = b"",
        *,
        name: str = "",
        timeout: float,
        headers: tuple[tuple[str, str], ...] = (),
        client_capabilities: bytes = b"{}",
    ) -> Exchange:
        """Send a request; opens first where needed. An HTTP 200, 400 or 404 with a JSON-RPC body is an answer.

        Args:
            params: a JSON object, passed through as bytes; empty = none.
            name: tool or prompt name or resource URI, for the Mcp-Name header of Modern.
            timeout: seconds until the response must be complete, opening included.
            headers: sent beside the address's own.
            client_capabilities: JSON object for the Modern envelope.

        Raises:
            BackendError: no head of an answer, or one that is not MCP. Only what provably was not processed is
                repeated (a lost session), and an idempotent list request on a connection that the server had closed.
        """
        raise NotImplementedError

    async def notify(self, method: str, params: bytes = b"", *, timeout: float) -> None:
        """Send a notification. Raises BackendError."""
        raise NotImplementedError

    def listen(self) -> AsyncIterator[ListChanged]:
        """Changes of the backend's lists, until its stream ends; then listen again and read the lists again.

        Raises:
            BackendError: no stream; category http_4xx = the server offers none.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End the session, best effort, within a second."""
        raise NotImplementedError

    def drop(self) -> None:
        """Let go of streams and session at once, without a word to the server."""
        raise NotImplementedError


__all__ = ["Address", "Backend", "BackendError", "Era", "Exchange", "ListChanged", "Message", "Reply"]
