"""One client's connection: uvicorn's, with the bounds that it lacks, and with a short way for plain calls (`lane`).

uvicorn's connection on httptools takes heads of any size, waits for ever for a head, a body or a reader, and forgets
its keep-alive timeout when a late body ends. A client that is merely slow would hold a connection for good.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from vmcp.gateway.limits import Limits
from vmcp.gateway.shortway import CONNECTION, App, OnItsWay, ShortWay, Taken

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


CLOSING: Final = (b"connection", b"close")
"""Among the headers of every answer it makes each the last one on its connection."""


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

    A request whose body comes with its head waits until both are there, so that the short way can look at it. What is
    not for the short way goes to uvicorn then, as if it had just come.

    Args:
        lanes: the short way.
        cut: told why, in one word, when a connection is ended for a limit.
        first: what another process has read of it already.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        cut: Callable[[str], None],
        lanes: ShortWay,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        first: bytes = b"",
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._first = first
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
        self._lanes = lanes
        self._lane: OnItsWay | None = None
        self._listed: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._postponed = False
        self._rested_at = 0.0
        self._date: list[tuple[bytes, bytes]] | None = None
        self._whole_head = b""
        self._is_last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head from now on."""
        super().connection_made(transport)
        self._expect("head", self._limits.head_s)
        if self._first:
            first, self._first = self._first, b""
            self.data_received(first)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop every clock."""
        self._expect_nothing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._lane is not None:
            # The router knows what to do when a client leaves.
            self._lane.hand_over()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self.scope is not None:
            # Each would keep the other alive.
            self.scope.pop("extensions", None)

    def shutdown(self) -> None:
        """End the connection after the request under way."""
        if self._lane is not None:
            self._lane.hand_over()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse, then see what is still owed to us."""
        # The chunk in which a head begins may be mostly of what came before it.
        further = self._began and not self._head_done
        self._chunk_bytes = len(data)
        # As uvicorn does, but the clock of an idle connection runs on: `_rested_at` tells it whether it was one.
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        except httptools.HttpParserUpgrade:
            pass
        if self.parser is None or self.transport.is_closing():
            return
        if self._postponed:
            # The rest of the body comes later: whoever reads it has a clock for that.
            self._begin()
        if further and not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(431, "head")
                return
        self._look()

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._lane is not None:
            # The next request is here already: it waits its turn behind this one.
            self._lane.hand_over()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
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
        # The request has the list of its headers; what the parser still finds must not get into it.
        self._listed, self.headers = self.headers, self._trailers
        parser, cycle = self.parser, self.cycle
        self._postponed = (
            self.url == b"/mcp"
            and parser.get_method() == b"POST"
            and (cycle is None or cycle.response_complete)
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.flow.write_paused
            and len(self.connections) < limits.connections
        )
        if not self._postponed:
            self._begin()

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        if self._postponed:
            self._body.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._began = False
        if not self._postponed:
            super().on_message_complete()
            return
        chunks = self._body
        taken = self._lanes.take(self, self._listed, chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if taken is Taken.NOT:
            self._begin()
            super().on_message_complete()
            return
        self._postponed = False
        chunks.clear()
        if taken is not Taken.ANSWERED:
            self._lane = taken

    def _begin(self) -> None:
        """Let uvicorn start the application on the request whose head is complete, body as far as it is there."""
        self._postponed = False
        self._unset_keepalive_if_required()
        url, expected = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.scope["headers"], self.headers = self._listed, self._trailers
        self.scope["extensions"] = cast("dict[str, dict[object, object]]", {CONNECTION: self})
        super().on_headers_complete()
        for chunk in self._body:
            super().on_body(chunk)
        self._body.clear()

    # Client

    def respond(self, message: bytes) -> None:
        """The whole answer to the request on the short way."""
        self._lane = None
        if self.transport.is_closing():
            return
        defaults = self.server_state.default_headers
        if defaults is not self._date:
            self._date = defaults
            self._is_last = CLOSING in defaults
            lines = b"".join(b"%b: %b\r\n" % pair for pair in defaults)
            self._whole_head = b"HTTP/1.1 200 OK\r\n" + lines + b"content-type: application/json\r\ncontent-length: "
        self.transport.write(b"%b%d\r\n\r\n%b" % (self._whole_head, len(message), message))
        self.server_state.total_requests += 1
        if self._is_last:
            self.transport.close()
            return
        self._rested_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._keep_alive(self.timeout_keep_alive)

    def hand_over(self, app: App) -> None:
        """The request leaves the short way."""
        self._lane = None
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "method": "POST",
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"",
            "headers": [],
            "state": {},
        }
        self._unset_keepalive_if_required()
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        self.cycle.more_body = False
        self._start_asgi_task(self.cycle, cast("ASGI3Application", app))

    def _keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """One timer serves many requests: it looks whether the last one is long enough ago."""
        self.timeout_keep_alive_task = None
        left = self._rested_at + self.timeout_keep_alive - self.loop.time()
        if self._lane is not None or self._began:
            left = self.timeout_keep_alive
        if left > 0:
            self._keep_alive(left)
        elif not self.transport.is_closing():
            self.transport.close()

    def give_away(self) -> socket.socket | None:
        """The client's socket, for somebody else to answer the request under way; None where another waits here."""
        if self._began or self.pipeline or self.cycle.response_started or self.transport.is_closing():
            return None
        self.transport.pause_reading()
        given = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        self.cycle.disconnected = True
        # This closes our descriptor of it, and tells the client nothing.
        self.transport.abort()
        return given

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
        return self._lane is not None or (self.cycle is not None and not self.cycle.response_complete)

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
