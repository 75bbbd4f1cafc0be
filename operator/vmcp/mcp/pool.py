"""The kept-alive connections to one origin, bounded in number and age."""

import asyncio
import errno
import socket
import ssl
from collections import deque
from typing import Final

from vmcp.api.category import ErrorCategory
from vmcp.mcp.connection import Connection
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.origin import Origin
from vmcp.mcp.tls import TlsContexts, handshake_failed
from vmcp.mcp.transport import Peer, TransportError

MOST_AGE_SECONDS: Final = 300.0
"""So that DNS changes, full listen queues and expired certificates are seen (design §3 rule 6)."""
MOST_IDLE_SECONDS: Final = 90.0
_OUR_OWN: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""What says something of this process and nothing of the backend."""


class Pool:
    """Connections to one origin as one peer."""

    __slots__ = (
        "_bound", "_busy", "_closed", "_connecting", "_contexts", "_guard", "_idle", "_loop", "_origin", "_peer",
        "_waiting",
    )  # fmt: skip

    def __init__(self, origin: Origin, peer: Peer, *, guard: AddressGuard, contexts: TlsContexts, bound: int) -> None:
        self._origin = origin
        self._peer = peer
        self._guard = guard
        self._contexts = contexts
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []  # the one used last is at the end and is taken first
        self._busy: set[Connection] = set()
        self._connecting = 0
        self._closed = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing is open, under way or waited for."""
        return not (self._idle or self._busy or self._connecting or self._waiting)

    def take(self, *, reuse_idle_seconds: float) -> Connection | None:
        """An idle connection young enough, None where there is none."""
        now = self._loop.time()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since <= reuse_idle_seconds and now - connection.opened_at <= MOST_AGE_SECONDS:
                self._busy.add(connection)
                return connection
            connection.abort()
        return None

    async def acquire(self, deadline: float, *, fresh: bool, reuse_idle_seconds: float) -> Connection:
        """A connection as soon as the bound allows one, new if nothing idle serves. `deadline` in loop time.

        Raises:
            TransportError: dns, forbidden, connect, tls or timeout.
        """
        while len(self._busy) + self._connecting >= self._bound:
            await self._turn(deadline)
            idle = None if fresh else self.take(reuse_idle_seconds=reuse_idle_seconds)
            if idle is not None:
                return idle
        if len(self._idle) + len(self._busy) + self._connecting >= self._bound and self._idle:
            self._idle.pop(0).abort()
        self._connecting += 1
        try:
            connection = await self._connect(deadline)
            if self._closed:
                connection.abort()
                raise _error(ErrorCategory.CONNECT, "The client is shutting down.")
            if connection.closed:
                raise _error(ErrorCategory.CONNECT, f"{self._origin.host} closes connections as soon as they open.")
            self._busy.add(connection)
            return connection
        finally:
            self._connecting -= 1
            self._let_next()

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        oldest = self._loop.time() - MOST_IDLE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).abort()

    def close(self) -> None:
        """Close every connection, and those under way as they come up."""
        self._closed = True
        for connection in (*self._idle, *self._busy):
            connection.abort()

    def _released(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if connection.closed:
            if connection in self._idle:
                self._idle.remove(connection)
        else:
            self._idle.append(connection)
        self._let_next()

    async def _turn(self, deadline: float) -> None:
        turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn in self._waiting:
                self._waiting.remove(turn)
            self._let_next()  # the turn may have come at the same moment: it is the next one's
            if isinstance(error, TimeoutError):
                raise _error(
                    ErrorCategory.TIMEOUT, f"All {self._bound} connections to {self._origin.host} stayed busy."
                ) from None
            raise

    def _let_next(self) -> None:
        while self._waiting and len(self._busy) + self._connecting < self._bound:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _connect(self, deadline: float) -> Connection:
        host = self._origin.host
        context = self._contexts.of(self._peer) if self._origin.tls else None
        addresses = self._allowed(await self._resolve(deadline))
        failure: TransportError | None = None
        for nth, address in enumerate(addresses):
            # a black hole behind the first address must leave time for the next
            share = (deadline - self._loop.time()) / (len(addresses) - nth)
            try:
                async with asyncio.timeout(share):
                    _, connection = await self._loop.create_connection(
                        lambda: Connection(self._loop, self._released),
                        address,
                        self._origin.port,
                        ssl=context,
                        server_hostname=host if context else None,
                    )
                    return connection
            except TimeoutError:
                failure = _error(ErrorCategory.TIMEOUT, f"{host} did not accept a connection in time.")
            except ssl.SSLError as error:
                failure = handshake_failed(error, host)
            except ConnectionRefusedError:
                failure = _error(
                    ErrorCategory.CONNECT,
                    f"{host} refuses connections on port {self._origin.port}; does the server run, and on this port?",
                )
            except OSError as error:
                if error.errno in _OUR_OWN:
                    raise _error(
                        ErrorCategory.CANCELLED, "No connection could be opened: this process is out of sockets."
                    ) from None
                failure = _error(ErrorCategory.CONNECT, f"{host} cannot be reached on port {self._origin.port}.")
        raise failure or _error(ErrorCategory.DNS, f"The host name {host} has no address.")

    def _allowed(self, addresses: list[str]) -> list[str]:
        refusals = {address: self._guard.refusal(address, self._peer) for address in addresses}
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        if refusals and not allowed:
            first = next(refusal for refusal in refusals.values() if refusal)
            raise _error(ErrorCategory.FORBIDDEN, f"{self._origin.host} is refused: {first}")
        return allowed

    async def _resolve(self, deadline: float) -> list[str]:
        host = self._origin.host
        if self._origin.literal:
            return [host]
        try:
            async with asyncio.timeout_at(deadline):
                found = await self._loop.getaddrinfo(host, self._origin.port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise _error(ErrorCategory.DNS, f"The name service did not answer for {host} in time.") from None
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise _error(ErrorCategory.DNS, f"The name service gives no answer for {host} at the moment.") from None
            raise _error(
                ErrorCategory.DNS, f"The host name {host} resolves to nothing; check its spelling and the Service."
            ) from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _error(category: ErrorCategory, message: str) -> TransportError:
    return TransportError(category, message, sent=False)
