"""The short way of a call: from the client's connection to the backend's and back, without a task or a timer.

Nearly every `tools/call` is plain: a known session, a usable backend, an idle connection to it, and an answer that is
a result, as JSON or as the first event of a stream. Such a call is read, sent on and answered in two callbacks.
Whatever else it turns out to be, or as soon as it takes longer than a moment, it is handed over to the router and goes
on from there as any other, under the same rules: the short way decides nothing itself, and refuses nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import Headers, Receive, Send
from vmcp.gateway.ask import SILENT, Ask, text_of
from vmcp.gateway.catalog import Catalog, Route
from vmcp.gateway.depth import deeper_than
from vmcp.gateway.hosts import Hosts
from vmcp.gateway.legacy import VERSIONS as LEGACY_VERSIONS
from vmcp.gateway.legacy import Legacy
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.modern import VERSION as MODERN_VERSION
from vmcp.gateway.modern import Modern
from vmcp.gateway.passive import Ear
from vmcp.gateway.passthrough import TRACE_CONTEXT, Passed, Passthrough, beside
from vmcp.gateway.router import Router
from vmcp.gateway.sessions import Session
from vmcp.gateway.shortway import Client, Taken
from vmcp.gateway.tracing import CallSpan, Tracing
from vmcp.gateway.unavailable import unavailable
from vmcp.gateway.utf8 import is_utf8
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import BackendError, Era
from vmcp.mcp.dialect import Begun, Unsettled

log = logging.getLogger(__name__)

MOMENT_S: Final = 0.1
"""What takes longer gets a task, which has a deadline and watches for its client to leave."""

_LEGACY: Final = frozenset(version.encode() for version in LEGACY_VERSIONS)
_MODERN: Final = MODERN_VERSION.encode()
_METHOD: Final = "tools/call"
_IDENTS: Final = frozenset(b"%c" % byte for byte in b'"-0123456789')
_PLAIN: Final = frozenset(("name", "arguments", "_meta"))
"""Params that mean nothing to a gateway; any other is for the router to know."""


class _Call(msgspec.Struct):
    method: str
    id: Raw = Raw(b"")
    params: dict[str, Raw] = {}
    result: Raw = Raw(b"")
    error: Raw = Raw(b"")


_call_of = msgspec.json.Decoder(_Call).decode
_encode = msgspec.json.Encoder().encode


class Lane:
    """One call on the short way. It stands in for a Flight while it is there."""

    __slots__ = (
        "_begun", "_capabilities", "_client", "_fields", "_ident", "_lanes", "_passed", "_reason", "_route",
        "_session", "_span", "started",
    )  # fmt: skip

    def __init__(
        self,
        lanes: "Lanes",
        client: Client,
        ident: bytes,
        fields: dict[str, Raw],
        route: Route,
        begun: Begun,
        session: Session | None,
        capabilities: bytes,
        passed: Passed,
        span: CallSpan | None,
    ) -> None:
        self._lanes = lanes
        self._client = client
        self._ident = ident
        self._fields = fields
        self._route = route
        self._begun = begun
        self._session = session
        self._capabilities = capabilities
        self._passed = passed
        self._span = span
        self._reason = ""
        self.started = time.perf_counter()
        if session is not None:
            session.flights[ident] = self
        begun.pending.listener = self._progressed

    def cancel(self, reason: str) -> None:
        """As a Flight."""
        self._reason = reason
        self.hand_over()

    def hand_over(self) -> None:
        """Let the router go on with it."""
        self._leave()
        self._client.hand_over(self._go_on)

    def _progressed(self) -> None:
        try:
            self._look()
        except Exception:
            log.exception("a call failed on the short way")
            if self in self._lanes.open:
                self.hand_over()

    def _look(self) -> None:
        result = self._begun.result()
        if result is Unsettled.WAIT:
            return
        if result is Unsettled.OTHER:
            self.hand_over()
            return
        self._leave()
        self._client.respond(jsonrpc.encode_result(self._ident, result))
        self._lanes.passive.reached(self._route.upstream)
        seconds = time.perf_counter() - self.started
        self._lanes.metrics.called(self._route.upstream.name, _METHOD, "ok", seconds)
        if self._span is not None:
            self._span.result(result)
            self._span.end()

    def _leave(self) -> None:
        self._begun.pending.listener = None
        self._lanes.open.discard(self)
        session = self._session
        if session is not None and session.flights.get(self._ident) is self:
            del session.flights[self._ident]

    async def _go_on(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        lanes = self._lanes
        if self._session is not None:
            answer = lanes.legacy.answer(self._session, self._ident, send)
        else:
            answer = lanes.modern.answer(self._ident, send)
        ask = Ask(
            _METHOD, b"", answer, self._fields, capabilities=self._capabilities, receive=receive,
            log_level=self._session.log_level if self._session else SILENT, session=self._session,
            flights=self._session.flights if self._session else None, begun=self._begun, passed=self._passed,
        )  # fmt: skip
        span = self._span
        if span is not None:
            ask.traced(span)
        try:
            await lanes.router.forward(ask, self._route, started=self.started, reason=self._reason)
        finally:
            if span is not None:
                span.end()


class Lanes:
    """All calls on the short way."""

    def __init__(
        self, *, router: Router, legacy: Legacy, modern: Modern, catalog: Catalog, metrics: Metrics,
        passive: Ear, hosts: Hosts, passthrough: Passthrough, json_depth: int, closed: Callable[[], bool],
        tracing: Tracing | None = None,
    ) -> None:  # fmt: skip
        self.router = router
        self.legacy = legacy
        self.modern = modern
        self.metrics = metrics
        self.passive = passive
        self.open: set[Lane] = set()
        self._tools = catalog.tools
        self._hosts = hosts
        self._passthrough = passthrough
        self._depth = json_depth
        self._closed = closed
        self._tracing = tracing
        self._ticking = False

    def take(self, client: Client, headers: Headers, body: bytes) -> "Lane | Taken":
        """The call, when it is on its way; or that it is answered already, or nothing for the short way."""
        try:
            return self._take(client, headers, body)
        except Exception:
            log.exception("a request could not be judged for the short way")
            return Taken.NOT

    def _take(self, client: Client, listed: Headers, body: bytes) -> "Lane | Taken":
        headers = dict(listed)
        # What is refused for its headers is refused elsewhere, with a reason.
        if (
            len(headers) != len(listed)
            or headers.get(b"content-type") != b"application/json"
            or not self._passthrough.names.isdisjoint(headers)
            or self._closed()
            or not self._hosts.takes(headers.get(b"host", b""))
        ):
            return Taken.NOT
        accept = headers.get(b"accept", b"")
        if b"application/json" not in accept or b"text/event-stream" not in accept:
            return Taken.NOT
        if not is_utf8(body) or deeper_than(body, self._depth):
            return Taken.NOT
        try:
            call = _call_of(body)
        except (msgspec.MsgspecError, RecursionError):
            return Taken.NOT
        ident, fields = bytes(call.id), call.params
        if "name" not in fields or not fields.keys() <= _PLAIN:
            return Taken.NOT
        if call.method != _METHOD or ident[:1] not in _IDENTS or call.result or call.error:
            return Taken.NOT
        try:
            name = text_of(fields["name"])
        except msgspec.MsgspecError:
            return Taken.NOT
        version = headers.get(b"mcp-protocol-version", b"")
        session, capabilities = None, b"{}"
        if version == _MODERN:
            found = self.modern.capabilities(name, fields, headers)
            if found is None:
                return Taken.NOT
            era, capabilities = Era.MODERN, found
        elif not version or version in _LEGACY:
            session = self.legacy.session(headers.get(b"mcp-session-id", b"").decode("latin-1"))
            if session is None or session.apart:
                return Taken.NOT
            era = Era.LEGACY
        else:
            return Taken.NOT
        route = self._tools.get(name)
        if route is None or route.params:
            return Taken.NOT
        upstream = route.upstream
        if not upstream.usable:
            if self._tracing is not None:
                return Taken.NOT
            self.metrics.called(upstream.name, _METHOD, "unavailable", 0.0)
            client.respond(jsonrpc.encode_error(ident, unavailable(upstream)))
            return Taken.ANSWERED
        if upstream.backend.era is not era:
            return Taken.NOT
        if route.own != name:
            fields["name"] = Raw(_encode(route.own))
        passed = () if TRACE_CONTEXT.isdisjoint(headers) else self._passthrough.of(listed)
        span = None
        if self._tracing is not None:
            revision = MODERN_VERSION if session is None else session.version
            span = self._tracing.begin(_METHOD, ident, revision, fields, passed)
            span.named(name)
            span.routed(upstream.name)
            passed = span.passed
        try:
            begun = upstream.backend.begin(
                _METHOD, fields, name=route.own, headers=beside(passed, upstream.own_headers),
                client_capabilities=capabilities,
            )  # fmt: skip
        except BackendError:
            begun = None
        if begun is None:
            return Taken.NOT
        lane = Lane(self, client, ident, fields, route, begun, session, capabilities, passed, span)
        self.open.add(lane)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(MOMENT_S, self._tick)
        return lane

    def _tick(self) -> None:
        self._ticking = bool(self.open)
        if self._ticking:
            asyncio.get_running_loop().call_later(MOMENT_S, self._tick)
            late = time.perf_counter() - MOMENT_S
            for lane in [lane for lane in self.open if lane.started < late]:
                lane.hand_over()
