"""A backend's URL as a thing to send to: its headers, its deadline arithmetic, its one safe repetition."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from vmcp.api.category import ErrorCategory
from vmcp.mcp.errors import BackendError
from vmcp.mcp.transport import Peer, Pending, Request, Response, Transport, TransportError

Headers = tuple[tuple[str, str], ...]

BOTH_TYPES: Final = "application/json, text/event-stream"
CALL_REUSE_IDLE_SECONDS: Final = 4.0
"""A call is never repeated, so it does not go out on a connection that the server may be about to close (design §6)."""
IDEMPOTENT: Final = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
    }
)
_OURS: Final = frozenset(
    {
        "accept", "accept-encoding", "connection", "content-length", "content-type", "expect", "host", "keep-alive",
        "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that framing and protocol decide; what a configuration says of them is left out."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a backend is and how it is reached. `wire` is `streamable-http` or `sse`."""

    url: str
    wire: str = "streamable-http"
    headers: Headers = ()
    peer: Peer = field(default_factory=Peer)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we say we are in `clientInfo`, and what a Legacy server may ask of us.

    Attributes:
        capabilities: client capabilities, a JSON object.
    """

    name: str
    version: str
    capabilities: bytes = b"{}"


class Endpoint:
    """Sends to one backend and turns what fails below into BackendError."""

    __slots__ = ("_configured", "_transport", "address")

    def __init__(self, transport: Transport, address: Address) -> None:
        self.address = address
        self._transport = transport
        self._configured = plain(address.headers)

    def post_headers(self, *more: tuple[str, str]) -> Headers:
        """Headers of a POST with a JSON-RPC message."""
        return (*self._configured, ("accept", BOTH_TYPES), ("content-type", "application/json"), *more)

    def stream_headers(self, *more: tuple[str, str]) -> Headers:
        """Headers of a GET for a stream."""
        return (*self._configured, ("accept", "text/event-stream"), *more)

    async def send(
        self,
        method: str,
        headers: Headers,
        body: bytes,
        deadline: float,
        *,
        once: Headers = (),
        idempotent: bool = False,
        url: str = "",
    ) -> Response:
        """The answer's head. `deadline` in loop time; `once`: headers of this request alone; `url` where it is not
        the address's own.

        An idempotent request is repeated once on a new connection when a reused one ended before a byte of an answer:
        servers close idle connections as a rule, so that this is no sign of anything (design §3 rule 6).

        Raises:
            BackendError: no head by then.
        """
        request = Request(method, url or self.address.url, headers, body, self.address.peer, once)
        now = asyncio.get_running_loop().time
        try:
            if not idempotent:
                return await self._transport.send(
                    request, timeout=deadline - now(), reuse_idle_seconds=CALL_REUSE_IDLE_SECONDS
                )
            try:
                return await self._transport.send(request, timeout=deadline - now())
            except TransportError as error:
                if not (error.category is ErrorCategory.CONNECT and error.reused and error.before_answer):
                    raise
            return await self._transport.send(request, timeout=deadline - now(), fresh=True)
        except TransportError as error:
            raise BackendError(error.category, str(error), sent=error.sent) from None

    def begin(self, headers: Headers, body: bytes, *, once: Headers = ()) -> Pending | None:
        """POST a call at once, where an idle connection is at hand. Raises BackendError: it cannot be sent at all."""
        try:
            request = Request("POST", self.address.url, headers, body, self.address.peer, once)
            return self._transport.begin(request, reuse_idle_seconds=CALL_REUSE_IDLE_SECONDS)
        except TransportError as error:
            raise BackendError(error.category, str(error), sent=error.sent) from None


def plain(headers: Headers) -> Headers:
    """The headers without those that framing and protocol decide."""
    return tuple((name, value) for name, value in headers if name.lower() not in _OURS)
