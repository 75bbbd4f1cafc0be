"""One HTTP/1.1 connection: llhttp on an asyncio protocol, one exchange at a time.

The hot path makes one future and one timer for an exchange, and no task: an answer that arrives in one
segment is complete before its waiter runs.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final

import httptools

from vmcp.api.category import ErrorCategory
from vmcp.mcp.transport import Pending, TransportError

MOST_BYTES_WITHOUT_BODY: Final = 64 * 1024
"""Head, 1xx heads, trailers, chunk extensions: as many bytes may pass without one byte of body."""
MOST_HEADERS: Final = 128
_PAUSE_AT: Final = 256 * 1024
_MOST_DISCARDED_BYTES: Final = 256 * 1024
_DISCARD_SECONDS: Final = 1.0
_COMMON_NAMES: Final = {
    spelled.encode(): name
    for name in ("connection", "content-length", "content-type", "date", "mcp-session-id", "server")
    for spelled in (name, name.title())
}
_NO_HEADERS: Final[Mapping[str, str]] = {}


class Connection(asyncio.Protocol):
    """A connection and the exchange that it is carrying.

    Attributes:
        opened_at, idle_since: loop time in seconds.
        closed: no further exchange is possible.
    """

    # Slots: with thousands of targets each check finds all of this out of the processor's caches.
    __slots__ = (
        "_answered", "_bodiless", "_broken", "_done", "_headers", "_informational", "_keep_alive", "_loop", "_parser",
        "_quiet_bytes", "_reading_paused", "_released", "_response", "_served", "_transport", "_unframed", "closed",
        "idle_since", "opened_at",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, released: "Callable[[Connection], None]") -> None:
        self._loop = loop
        self._released = released
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._response: HttpResponse | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._served = 0
        self._quiet_bytes = 0
        self._answered = self._done = self._broken = self._informational = False
        self._keep_alive = self._bodiless = self._unframed = False
        self._reading_paused = False
        self.closed = False
        self.opened_at = self.idle_since = loop.time()

    def exchange(self, payload: bytes, *, bodiless: bool) -> "HttpResponse":
        """Send a request; the connection must be idle. `bodiless`: the answer is a head alone (HEAD)."""
        assert self._transport is not None
        assert self._response is None
        response = self._response = HttpResponse(self, self._loop)
        self._bodiless = bodiless
        self._answered = self._done = False
        self._quiet_bytes = 0
        self._transport.write(payload)
        return response

    def abort(self) -> None:
        """Drop the connection at once."""
        self._finish(TransportError(ErrorCategory.CONNECT, "The connection was given up.", before_answer=False))

    def pause(self) -> None:
        """Stop reading from the socket: the reader is behind."""
        if self._transport is not None and not self.closed:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the socket again."""
        if self._transport is not None and not self.closed:
            self._reading_paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is open."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """asyncio: a segment came; whoever waits is woken once for all of it."""
        response = self._response
        if response is None or self._parser is None:
            self.abort()  # nothing was asked: whatever this is, it must not be taken for the next answer
            return
        self._answered = True
        self._quiet_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ErrorCategory.PROTOCOL, "The server's answer is not valid HTTP/1.1.")
            return
        if self._broken:
            self._fail(ErrorCategory.PROTOCOL, "The server sent more than the answer, or too many header lines.")
        elif self._done or (response.head_complete and self._bodiless):
            self._complete()
        elif self._quiet_bytes > MOST_BYTES_WITHOUT_BODY:
            self._fail(ErrorCategory.PROTOCOL, "The server's header does not end.")
        else:
            response.progressed()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the end of the stream, which ends a body that has no other end."""
        response = self._response
        if response is not None and response.head_complete and self._unframed and exc is None:
            self._keep_alive = False
            self._complete()
        elif response is not None:
            self._fail(ErrorCategory.CONNECT, "The server closed the connection before its answer was complete.")
        else:
            self._finish(None)

    # llhttp

    def on_message_begin(self) -> None:
        """llhttp: a status line begins."""
        self._headers = []
        if self._done:
            self._broken = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp: a header or trailer line is complete."""
        self._headers.append((name, value))
        if len(self._headers) > MOST_HEADERS:
            self._broken = True

    def on_headers_complete(self) -> None:
        """llhttp: a head is complete, perhaps an informational one that another follows."""
        parser, response = self._parser, self._response
        if parser is None or response is None or self._done:
            return
        status = parser.get_status_code()
        if status < 200:
            self._informational = True
            return
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._headers:
            name = _COMMON_NAMES.get(raw_name) or raw_name.decode("latin-1").lower()
            value = raw_value.decode("latin-1").strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self._headers = []
        self._bodiless = self._bodiless or status in (204, 304)
        self._unframed = "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "")
        self._keep_alive = False
        response.begun(status, headers)

    def on_body(self, body: bytes) -> None:
        """llhttp: a piece of the body."""
        self._quiet_bytes = 0
        if self._response is not None and not self._bodiless:
            self._response.received(body)

    def on_message_complete(self) -> None:
        """llhttp: the end of the answer, or of an informational head."""
        if self._informational:
            self._informational = False
            return
        self._done = True
        self._keep_alive = self._parser is not None and self._parser.should_keep_alive()

    # ends of an exchange

    def _complete(self) -> None:
        response, self._response = self._response, None
        self._served += 1
        if self._keep_alive and self._done and not self.closed:
            self.idle_since = self._loop.time()
            if self._reading_paused:
                self.resume()  # the reader has all of it in memory; the next answer needs the socket
            if response is not None:
                response.finish(None)
            self._released(self)
        else:
            if response is not None:
                response.finish(None)
            self._finish(None)

    def _fail(self, category: ErrorCategory, message: str) -> None:
        self._finish(TransportError(category, message, before_answer=not self._answered, reused=self._served > 0))

    def _finish(self, error: TransportError | None) -> None:
        response, self._response = self._response, None
        if not self.closed:
            self.closed = True
            if self._transport is not None:
                self._transport.abort()
            self._parser = None  # it and this object hold each other
            self._released(self)
        if response is not None:
            response.finish(error)


class HttpResponse(Pending):
    """The answer on one connection. One reader at a time."""

    __slots__ = (
        "_chunks", "_connection", "_discard_timer", "_discarding", "_error", "_loop", "_pause_at", "_paused", "_size",
        "_waiter", "ended", "head_complete", "headers", "status",
    )  # fmt: skip

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._chunks: list[bytes] = []
        self._size = 0
        self._pause_at = _PAUSE_AT
        self._paused = self.ended = self._discarding = False
        self._error: TransportError | None = None
        self._discard_timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self.listener: Callable[[], None] | None = None
        self.head_complete = False
        self.status = 0
        self.headers = _NO_HEADERS

    async def head(self, deadline: float) -> None:
        """Return once status and headers are there. `deadline` in loop time."""
        while not self.head_complete:
            if self.ended:
                raise self._error or TransportError(ErrorCategory.PROTOCOL, "The server sent no answer.")
            await self._wait(deadline, "The server did not begin to answer in time.")

    async def read(self, *, limit: int, timeout: float) -> bytes:
        """The whole body, gathered without waking for each piece where it is there already."""
        if not self.ended:
            await self._collect(limit, self._loop.time() + timeout)
        if self._error is not None:
            raise self._error
        if self._size > limit:
            raise self._too_long(limit)
        chunks = self._chunks
        self._chunks, self._size = [], 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def so_far(self) -> bytes | None:
        """What has come of the body."""
        if self._error is not None:
            return None
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""

    async def _collect(self, limit: int, deadline: float) -> None:
        self._pause_at = limit
        while not self.ended:
            if self._size > limit:
                raise self._too_long(limit)
            self._resume()
            await self._wait(deadline, "The server's answer was not complete in time.")

    async def chunks(self, *, idle_timeout: float) -> AsyncGenerator[bytes, None]:
        """The body as it arrives; whoever reads slowly slows the server down."""
        while True:
            if self._chunks:
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks, self._size = [], 0
                self._resume()
                yield data
            elif self._error is not None:
                raise self._error
            elif self.ended:
                return
            else:
                await self._wait(self._loop.time() + idle_timeout, "The server's stream went silent.")

    def close(self) -> None:
        """Give the answer up, and the connection with it unless the answer had ended."""
        if not self.ended:
            self._connection.abort()
        self._chunks, self._size = [], 0

    def release(self) -> None:
        """Discard the rest; the connection is dropped where that takes longer than a second."""
        self._chunks, self._size = [], 0
        if not self.ended and not self._discarding:
            self._discarding = True
            self._resume()
            self._discard_timer = self._loop.call_later(_DISCARD_SECONDS, self.close)

    # called by the connection

    def begun(self, status: int, headers: Mapping[str, str]) -> None:
        """The head is there."""
        self.status = status
        self.headers = headers
        self.head_complete = True

    def received(self, body: bytes) -> None:
        """A piece of the body; reading pauses when the reader is far behind."""
        self._size += len(body)
        if self._discarding:
            if self._size > _MOST_DISCARDED_BYTES:
                self._loop.call_soon(self.close)
            return
        self._chunks.append(body)
        if self._size > self._pause_at and not self._paused:
            self._paused = True
            self._connection.pause()

    def progressed(self) -> None:
        """Something arrived: wake the reader where there is something to read."""
        if self._waiter is not None and self.head_complete and not self._waiter.done():
            self._waiter.set_result(True)
        if self.listener is not None:
            self.listener()

    def finish(self, error: TransportError | None) -> None:
        """The last byte, or why there is none."""
        self.ended = True
        self._error = error
        if self._discard_timer is not None:
            self._discard_timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)
        if self.listener is not None:
            self.listener()

    # private

    def _resume(self) -> None:
        if self._paused and not self.ended:
            self._paused = False
            self._connection.resume()

    def _too_long(self, limit: int) -> TransportError:
        self.close()
        return TransportError(
            ErrorCategory.PROTOCOL, f"The server's answer is longer than {limit} bytes.", before_answer=False
        )

    async def _wait(self, deadline: float, late: str) -> None:
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, _expire, waiter)
        try:
            in_time = await waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            timer.cancel()
            self._waiter = None
        if not in_time:
            began = self.head_complete
            self.close()
            raise TransportError(ErrorCategory.TIMEOUT, late, before_answer=not began)


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
