"""One client's connection: uvicorn's, with the bounds that it lacks.

uvicorn's connection on httptools takes heads of any size, waits for ever for a head, a body or a reader, and forgets
its keep-alive timeout when a late body ends. A client that is merely slow would hold a connection for good.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from vmcp.gateway.limits import Limits


class _Trailers(list[tuple[bytes, bytes]]):
    """Headers that come after the body: counted and dropped, since nobody has read them before acting."""

    def __init__(self, most_bytes: int, exceeded: Callable[[], NoReturn]) -> None:
        super().__init__()
        self.size = 0
        self._most_bytes = most_bytes
        self._exceeded = exceeded

    def append(self, header: tuple[bytes, bytes]) -> None:
        self.size += len(header[0]) + len(header[1])
        if self.size > self._most_bytes:
            self._exceeded()


class Connection(HttpToolsProtocol):
    """A connection within limits.

    Args:
        cut: told why, in one word, when a connection is ended for a limit.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        cut: Callable[[str], None],
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._cut = cut
        self._refusal = 0
        self._head_bytes = 0
        self._chunk_bytes = 0
        self._trailers = _Trailers(self._limits.head_bytes, self._too_large)
        self._began = False
        self._head_done = False
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_of = ""
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head from now on."""
        super().connection_made(transport)
        self._expect("head", self._limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        self._expect_nothing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then see what is still owed to us."""
        # The chunk in which a head begins may be mostly of what came before it.
        further = self._began and not self._head_done
        self._chunk_bytes = len(data)
        super().data_received(data)
        if self.parser is None or self.transport.is_closing():
            return
        if further and not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(431, "head")
                return
        self._look()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._began, self._head_done = True, False
        self._head_bytes = self._trailers.size = 0

    def on_headers_complete(self) -> None:
        """The head is complete."""
        limits = self._limits
        if len(self.headers) > limits.headers:
            self._too_large()
        # A head that came in one small chunk needs no counting.
        if self._head_bytes + self._chunk_bytes > limits.head_bytes:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > limits.head_bytes:
                self._too_large()
        self._head_done = True
        super().on_headers_complete()
        # The request has the list of its headers; what the parser still finds must not get into it.
        self.headers = self._trailers

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._began = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request, or none within the limits."""
        if self._refusal:
            self._refuse(self._refusal, "head")
        elif self._answering:
            # An answer is on its way: a second one would be read as part of it.
            self.transport.close()
        else:
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        """The client takes less than we send: it has until the next look to take some."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _too_large(self) -> NoReturn:
        self._refusal = 431
        raise ValueError("the head is too large")

    def _look(self) -> None:
        """Set the clock of what is owed: the rest of a head, the rest of a body, or a request at all."""
        if self._began and not self._head_done:
            self._expect("head", self._limits.head_s)
        elif self._began:
            # The application ends a late body by itself, and says why.
            self._expect("body", self._limits.body_s + self._limits.head_s)
        elif self._answering:
            self._expect_nothing()
        elif self.timeout_keep_alive_task is None:
            # Bytes that began nothing, or the end of a body that nobody waited for.
            self._expect("head", self._limits.head_s)
        else:
            self._expect_nothing()

    def _expect(self, what: str, seconds: float) -> None:
        if self._deadline is not None:
            if self._deadline_of == what:
                return
            self._deadline.cancel()
        self._deadline_of = what
        self._deadline = self.loop.call_later(seconds, self._late)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.pipeline:
            # It is we who do not read on.
            self._expect(self._deadline_of, self._limits.body_s)
        else:
            self._refuse(408, self._deadline_of)

    def _refuse(self, status: int, reason: str) -> None:
        if self.transport.is_closing():
            return
        self._cut(reason)
        if not self._answering and self._began:
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        if self._answering:
            self.transport.abort()
        else:
            self.transport.close()

    def _watch_reader(self) -> None:
        if self._stalled is None:
            owed = self.transport.get_write_buffer_size()
            self._stalled = self.loop.call_later(self._limits.stall_s, self._stalls, owed)

    def _stalls(self, owed: int) -> None:
        self._stalled = None
        taken = owed - self.transport.get_write_buffer_size()
        if taken < self._limits.least_bytes_s * self._limits.stall_s:
            self._cut("reader")
            self.transport.abort()
        else:
            self._watch_reader()
