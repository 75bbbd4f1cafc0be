"""The seam for rate-sensitive HTTP: one verb, `send`. Probes, gateway calls and the gateway's watches go through it.

The one implementation is `vmcp.mcp.http`; tests pass another instead of patching.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec

from vmcp.api.category import ErrorCategory


class TransportError(Exception):
    """A request that got no complete answer.

    Attributes:
        category: dns, forbidden, connect, tls, timeout or protocol; cancelled when this process is out of sockets.
        before_answer: no byte of an answer had arrived.
        reused: the request went out on a connection that had carried one before, so that the server may simply
            have closed an idle connection.
        sent: False = not a byte of the request went out.
    """

    def __init__(
        self,
        category: ErrorCategory,
        message: str,
        *,
        before_answer: bool = True,
        reused: bool = False,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.category = category
        self.before_answer = before_answer
        self.reused = reused
        self.sent = sent


class Peer(msgspec.Struct, frozen=True):
    """How a host is reached: who may be connected to, and how its certificate is checked.

    Requests with equal peers and the same origin share a connection pool.

    Attributes:
        allow_private: the address guard lets private ranges pass.
        ca_pem: PEM bundle that the server's certificate must chain to; None = the system's.
        verify: False = the certificate is not checked at all.
    """

    allow_private: bool = False
    ca_pem: str | None = None
    verify: bool = True


class Request(msgspec.Struct, frozen=True):
    """One HTTP/1.1 request. Header names and values as they go out, without Host and Content-Length.

    Attributes:
        headers: those that other requests have too: their encoding is kept.
        once: more headers, which no other request will share.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    peer: Peer = Peer()
    once: tuple[tuple[str, str], ...] = ()


class Response(ABC):
    """An answer whose head has arrived. Leave it by reading it to its end or by `close`.

    Attributes:
        status: HTTP status.
        headers: names in lower case; a repeated header's values joined by `, `.
    """

    __slots__ = ()

    status: int
    headers: Mapping[str, str]

    @abstractmethod
    async def read(self, *, limit: int, timeout: float) -> bytes:
        """The whole body.

        Raises TransportError: `protocol` over `limit` bytes, `timeout` after `timeout` seconds in all.
        """

    @abstractmethod
    def chunks(self, *, idle_timeout: float) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises TransportError: `timeout` when nothing arrives for `idle_timeout` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Give the answer up. Synchronous and instant: an unfinished connection is dropped, not drained."""

    def release(self) -> None:
        """The rest does not matter: what still comes is discarded, so that the connection may serve again.

        Synchronous and instant. A connection whose answer does not end soon is dropped.
        """
        self.close()


class Pending(Response):
    """An answer that may not have begun to arrive; status and headers count from `head_complete` on.

    Attributes:
        ended: nothing more comes: all of it is there, or an error is.
        listener: called when there is more of it than before.
    """

    __slots__ = ("listener",)

    head_complete: bool
    ended: bool
    listener: Callable[[], None] | None

    @abstractmethod
    async def head(self, deadline: float) -> None:
        """Return once status and headers are there. `deadline` in loop time. Raises TransportError."""

    @abstractmethod
    def so_far(self) -> bytes | None:
        """What there is of the body, which stays to be read; None where the connection failed."""


class Transport(ABC):
    """Sends requests on kept-alive connections."""

    @abstractmethod
    async def send(
        self, request: Request, *, timeout: float, fresh: bool = False, reuse_idle_seconds: float = 60.0
    ) -> Response:
        """The answer's head, within `timeout` seconds. Redirects are answers. Nothing is retried.

        Args:
            fresh: open a new connection even where an idle one is at hand.
            reuse_idle_seconds: a connection idle for longer is closed instead of used.

        Raises:
            TransportError: no head within the time, or no connection.
        """

    def begin(self, request: Request, *, reuse_idle_seconds: float = 60.0) -> "Pending | None":
        """Send at once, on an idle connection; None where none is at hand, or this transport has no such way."""
        return None

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""
