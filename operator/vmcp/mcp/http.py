"""The transport: HTTP/1.1 on httptools (llhttp) and asyncio, lean enough to probe a whole cluster from one core.

It asks for no content encoding, follows no redirect and retries nothing.
"""

import asyncio
from typing import Final

from vmcp.api.category import ErrorCategory
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.origin import Origin, parse_url
from vmcp.mcp.pool import Pool
from vmcp.mcp.tls import TlsContexts
from vmcp.mcp.transport import Peer, Pending, Request, Response, Transport, TransportError

MOST_KEPT_HEADS: Final = 32_768
_SWEEP_SECONDS: Final = 30.0


class HttpTransport(Transport):
    """Keeps connections per origin and peer; belongs to one event loop.

    Args:
        guard: judges every address connected to.
        connections_per_origin: at most so many at once; further requests wait within their timeout.
        kept_heads: encoded request heads that are kept for the next request with the same headers.
    """

    def __init__(
        self, *, guard: AddressGuard, connections_per_origin: int = 256, kept_heads: int = MOST_KEPT_HEADS
    ) -> None:
        self._guard = guard
        self._bound = connections_per_origin
        self._kept_heads = kept_heads
        self._contexts = TlsContexts()
        self._pools: dict[tuple[Origin, Peer], Pool] = {}
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}
        self._origins: dict[str, Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(
        self, request: Request, *, timeout: float, fresh: bool = False, reuse_idle_seconds: float = 60.0
    ) -> Response:
        """The head of the answer; on a kept connection nothing but a future and a timer is made."""
        deadline = asyncio.get_running_loop().time() + timeout
        payload = self._payload(request)
        pool = self._pool(request)
        connection = None if fresh else pool.take(reuse_idle_seconds=reuse_idle_seconds)
        if connection is None:
            connection = await pool.acquire(deadline, fresh=fresh, reuse_idle_seconds=reuse_idle_seconds)
        response = connection.exchange(payload, bodiless=request.method == "HEAD")
        await response.head(deadline)
        return response

    def begin(self, request: Request, *, reuse_idle_seconds: float = 60.0) -> Pending | None:
        """Send on an idle connection, and wait for nothing."""
        payload = self._payload(request)
        connection = self._pool(request).take(reuse_idle_seconds=reuse_idle_seconds)
        return None if connection is None else connection.exchange(payload, bodiless=False)

    async def close(self) -> None:
        """Close every connection; what is under way fails."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _pool(self, request: Request) -> Pool:
        key = (self._origins[request.url], request.peer)
        pool = self._pools.get(key)
        if pool is None:
            if self._closed:
                raise TransportError(ErrorCategory.CONNECT, "The client is shutting down.", sent=False)
            pool = self._pools[key] = Pool(*key, guard=self._guard, contexts=self._contexts, bound=self._bound)
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
        return pool

    def _payload(self, request: Request) -> bytes:
        """All that goes out. Raises TransportError: it cannot be sent."""
        try:
            head = self._head(request)
            if request.once:
                head += b"".join([_line(name, value) for name, value in request.once])
        except ValueError as error:
            raise TransportError(ErrorCategory.PROTOCOL, f"The request cannot be sent: {error}.", sent=False) from None
        body = request.body
        if body or request.method in ("POST", "PUT", "PATCH"):
            return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        return head + b"\r\n"

    def _head(self, request: Request) -> bytes:
        """Request line and headers, made once for requests that share them. Raises ValueError: they are none."""
        key = (request.method, request.url, request.headers)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= self._kept_heads:
                self._heads.clear()
                self._origins.clear()
            origin, target = parse_url(request.url)
            first = f"{request.method} {target} HTTP/1.1\r\nhost: {origin.authority}\r\n".encode("ascii")
            head = first + b"".join([_line(name, value) for name, value in request.headers])
            self._heads[key] = head
            self._origins[request.url] = origin
        return head

    def _sweep(self) -> None:
        for key, pool in list(self._pools.items()):
            pool.sweep()
            if pool.empty:
                del self._pools[key]
        self._sweeper = (
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
            if self._pools and not self._closed
            else None
        )


def _line(name: str, value: str) -> bytes:
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise ValueError("a header name may hold letters, digits and - only")
    if any(character in value for character in "\r\n\0") or not value.isascii():
        raise ValueError(f"the value of header {name} holds a line break or is not ASCII")
    return f"{name}: {value}\r\n".encode("ascii")
