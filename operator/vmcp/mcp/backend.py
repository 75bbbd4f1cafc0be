"""One backend on the wire: its era, its kept session, and one verb to ask it something."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Final

from msgspec import Raw

from vmcp.api.category import ErrorCategory
from vmcp.mcp import jsonrpc
from vmcp.mcp.dialect import (
    ASIDE_SECONDS,
    CHANGES,
    LISTEN_OPEN_SECONDS,
    Begun,
    Dialect,
    JsonObject,
    ListChanged,
)
from vmcp.mcp.endpoint import Address, Endpoint, Headers, Identity
from vmcp.mcp.era import detect
from vmcp.mcp.errors import BackendError, SessionGoneError
from vmcp.mcp.exchange import UNSERVED, Era, Exchange, Reply
from vmcp.mcp.jsonrpc import JsonRpcError, Message
from vmcp.mcp.legacy import KeptSession, LegacyHttp
from vmcp.mcp.transport import Transport

__all__ = [
    "Address",
    "Backend",
    "BackendError",
    "Era",
    "Exchange",
    "JsonObject",
    "JsonRpcError",
    "KeptSession",
    "ListChanged",
    "Message",
    "Reply",
]

_CLOSE_SECONDS: Final = 1.0
_DOUBTFUL: Final = frozenset(
    {ErrorCategory.TIMEOUT, ErrorCategory.HTTP_4XX, ErrorCategory.HTTP_5XX, ErrorCategory.PROTOCOL}
)
"""Failures of a server that was reached."""


class Backend:
    """Owns the era and the kept session of one backend. Safe for concurrent requests; belongs to one event loop.

    Attributes:
        openings: how often a session was opened: another number than before means that the server forgot all it knew.
    """

    __slots__ = ("_dialect", "_endpoint", "_identity", "_legacy_first", "_opening", "openings")

    def __init__(
        self,
        transport: Transport,
        address: Address,
        *,
        client_name: str,
        client_version: str,
        client_capabilities: bytes = b"{}",
        legacy_first: bool = False,
    ) -> None:
        self._endpoint = Endpoint(transport, address)
        self._identity = Identity(client_name, client_version, client_capabilities)
        self._legacy_first = legacy_first
        self.openings = 0
        self._dialect: Dialect | None = None
        self._opening = asyncio.Lock()

    @property
    def address(self) -> Address:
        """Where the backend is."""
        return self._endpoint.address

    @property
    def era(self) -> Era | None:
        """None while unknown."""
        return self._dialect.era if self._dialect else None

    @property
    def revision(self) -> str:
        """The protocol revision agreed on, empty while unknown."""
        return self._dialect.revision if self._dialect else ""

    @property
    def capabilities(self) -> JsonObject:
        """What the server says it can, as it says it."""
        return self._dialect.capabilities if self._dialect else {}

    @property
    def server_info(self) -> JsonObject:
        """Name and version of the server, as it says them."""
        return self._dialect.server_info if self._dialect else {}

    async def open(self, *, timeout: float) -> None:
        """Detect the era and, in Legacy, open the session. Returns at once when open.

        Raises:
            BackendError: nothing of that within `timeout` seconds.
        """
        await self._opened(_now() + timeout)

    async def ping(self, *, timeout: float) -> None:
        """The cheapest correct POST that shows that the backend answers; opens first where needed.

        Raises:
            BackendError: no answer within `timeout` seconds in all, or one that is no sign of life.
        """
        deadline = _now() + timeout
        before = self._dialect
        dialect = await self._opened(deadline)
        try:
            try:
                await dialect.ping(deadline)
            except SessionGoneError:
                self._forget(dialect)
                dialect = await self._opened(deadline)
                await dialect.ping(deadline)
        except BackendError as error:
            # A session that is stuck, or that a new server behind the old address does not know, would look like a
            # dead backend for ever: the next ping asks anew. A server that was not reached may still have it.
            stale = dialect is before and error.category in _DOUBTFUL
            if stale or (error.category is ErrorCategory.CONNECT and not dialect.keeps_session):
                self._forget(dialect)
            raise

    async def request(
        self,
        method: str,
        params: bytes = b"",
        *,
        name: str = "",
        timeout: float,
        headers: Headers = (),
        client_capabilities: bytes = b"{}",
        log_level: str = "",
        begun: Begun | None = None,
    ) -> Exchange:
        """Send a request; opens first where needed. A JSON-RPC body under HTTP 200, 400 or 404 is an answer.

        Args:
            params: a JSON object, passed through as bytes; empty = none.
            name: tool or prompt name or resource URI, for the Mcp-Name header of Modern.
            timeout: seconds until the response must be complete, opening included.
            headers: sent beside the address's own.
            client_capabilities: JSON object for the Modern envelope.
            log_level: for the Modern envelope, empty = as `params` say.
            begun: this request as `begin` has sent it already.

        Raises:
            BackendError: no head of an answer, or one that is not MCP. Repeated is only what provably was not
                processed (a lost session), and an idempotent request on a connection that the server had closed.
            ValueError: `params` is not a JSON object.
        """
        deadline = _now() + timeout
        exchange: Exchange | None = None
        dialect = begun.dialect if begun is not None else await self._opened(deadline)

        async def ask() -> Exchange:
            return await dialect.request(
                method,
                params,
                name=name,
                deadline=deadline,
                headers=headers,
                client_capabilities=client_capabilities,
                log_level=log_level,
            )

        try:
            exchange = await (ask() if begun is None else begun.exchange(deadline))
        except SessionGoneError:
            self._forget(dialect)
        if exchange is None:
            dialect = await self._opened(deadline)
            exchange = await ask()
        exchange.era = dialect.era
        return exchange

    def begin(
        self,
        method: str,
        fields: Mapping[str, Raw],
        *,
        name: str,
        headers: Headers = (),
        client_capabilities: bytes = b"{}",
    ) -> Begun | None:
        """Send a request with these params now, where neither session nor connection need be waited for; else None.

        What comes of it is in the result, or goes on as `request(..., begun=...)`. Raises BackendError.
        """
        dialect = self._dialect
        if dialect is None or not dialect.alive:
            return None
        return dialect.begin(method, fields, name=name, headers=headers, client_capabilities=client_capabilities)

    async def post(self, message: bytes, *, timeout: float) -> None:
        """Post the response to a request of the server. Raises BackendError."""
        deadline = _now() + timeout
        dialect = await self._opened(deadline)
        await dialect.notify(message, deadline)

    async def notify(self, method: str, params: bytes = b"", *, timeout: float) -> None:
        """Send a notification. Raises BackendError."""
        deadline = _now() + timeout
        dialect = await self._opened(deadline)
        await dialect.notify(jsonrpc.encode_notification(method, params), deadline)

    async def listen(self) -> AsyncGenerator[ListChanged, None]:
        """Changes of the backend's lists until its stream ends; then listen again, and read the lists again.

        Requests of the server that belong to no call are answered here: life sign, or no.

        Raises:
            BackendError: no stream; category http_4xx = the server offers none.
        """
        async with aclosing(self.messages()) as messages:
            async for message in messages:
                if message.method in CHANGES:
                    yield CHANGES[message.method]
                elif message.is_request:
                    await self.post(unserved(message), timeout=ASIDE_SECONDS)

    async def messages(
        self, uris: Sequence[str] = (), *, opened: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Message, None]:
        """What the backend says outside of calls, until its stream ends.

        Args:
            uris: resources whose updates a Modern server shall tell; a Legacy one tells of what was subscribed to.
            opened: called as soon as nothing is missed any more.

        Raises:
            BackendError: no stream; category http_4xx = the server offers none.
        """
        dialect = await self._opened(_now() + LISTEN_OPEN_SECONDS)
        try:
            async with aclosing(dialect.messages(uris, opened)) as messages:
                async for message in messages:
                    yield message
        except SessionGoneError:
            self._forget(dialect)
            raise

    async def close(self) -> None:
        """End the session, best effort, within a second."""
        dialect, self._dialect = self._dialect, None
        if dialect is None:
            return
        try:
            with suppress(BackendError):  # the server forgets the session by itself, in time
                await dialect.end(_now() + _CLOSE_SECONDS)
        finally:
            dialect.drop()

    def kept(self) -> KeptSession | None:
        """The session, as another process can `adopt` it; None where there is none that outlives this process."""
        return self._dialect.kept() if isinstance(self._dialect, LegacyHttp) else None

    def adopt(self, kept: KeptSession) -> None:
        """Go on with a session that another process opened, in place of one of our own."""
        if self.kept() == kept:
            return
        if self._dialect is not None:
            self._dialect.drop()
        self._dialect = LegacyHttp.adopt(self._endpoint, kept)
        self.openings += 1

    def drop(self) -> None:
        """Let go of stream and session at once, without a word to the server."""
        if self._dialect is not None:
            self._forget(self._dialect)

    async def _opened(self, deadline: float) -> Dialect:
        dialect = self._dialect
        if dialect is not None and dialect.alive:
            return dialect
        try:
            async with asyncio.timeout_at(deadline):
                await self._opening.acquire()
        except TimeoutError:
            raise BackendError(
                ErrorCategory.TIMEOUT, "The server did not open a session in time.", sent=False
            ) from None
        try:
            dialect = self._dialect
            if dialect is None or not dialect.alive:
                dialect = self._dialect = await detect(
                    self._endpoint, self._identity, deadline, legacy_first=self._legacy_first
                )
                self.openings += 1
            return dialect
        finally:
            self._opening.release()

    def _forget(self, dialect: Dialect) -> None:
        if self._dialect is dialect:
            self._dialect = None
        dialect.drop()


def unserved(message: Message) -> bytes:
    """The response to a server's request that nobody here can serve: life sign, or no."""
    ident = message.id or b"null"
    return jsonrpc.encode_result(ident, b"{}") if message.method == "ping" else jsonrpc.encode_error(ident, UNSERVED)


def _now() -> float:
    return asyncio.get_running_loop().time()
