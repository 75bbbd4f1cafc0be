"""Answers the methods that both eras share: lists from the catalog, everything else from the one backend it names."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Raw

from vmcp.gateway.accesslog import AccessLog
from vmcp.gateway.answer import rpc_error
from vmcp.gateway.ask import Ask, fields_of, text_of
from vmcp.gateway.catalog import Catalog, Route
from vmcp.gateway.cursors import page_of
from vmcp.gateway.dialogue import Dialogues
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.flights import Flights
from vmcp.gateway.listing import Listed
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.params import param_mismatch
from vmcp.gateway.results import MODERN_LIST_TAIL
from vmcp.gateway.sessions import Session
from vmcp.gateway.tracing import Tracing
from vmcp.gateway.unavailable import failed, unavailable
from vmcp.gateway.upstream import Upstream
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import BackendError, Era

log = logging.getLogger(__name__)

_LISTS = {listed.method: listed for listed in Listed}


class Router:
    """Answers requests.

    Args:
        dialogues: carry what a backend must answer.
        own: answers `resources/read` of what a backend shows in one client's session only; False when none does.
        tasks: owns the watches of long calls.
        access: told of every request; None = there is no access log.
        tracing: begins the spans of requests; None = nobody collects them.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        catalog: Catalog,
        metrics: Metrics,
        dialogues: Dialogues,
        own: Callable[[Ask, Session], Awaitable[bool]],
        tasks: asyncio.TaskGroup,
        access: AccessLog | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._fleet = fleet
        self._catalog = catalog
        self._dialogues = dialogues
        self._own = own
        self._metrics = metrics
        self._access = access
        self._tracing = tracing
        self._flights = Flights(tasks)

    def give_up_calls(self, reason: str) -> None:
        """End every call under way: its client gets an error, its backend hears that it need not go on."""
        self._flights.give_up(reason)

    async def handle(self, ask: Ask) -> bool:
        """Answer the request; False when its method is none of the shared ones and nothing was answered."""
        if self._tracing is None:
            return await self._handle(ask)
        span = self._tracing.begin(ask.method, ask.answer.ident, ask.version, ask.fields, ask.passed)
        ask.traced(span)
        ask.params, ask.passed = b"", span.passed
        answered = True
        try:
            answered = await self._handle(ask)
        finally:
            # What was not answered here is no request of the backends: its span is never heard of.
            if answered:
                span.end()
        return answered

    async def _handle(self, ask: Ask) -> bool:
        match ask.method:
            case "tools/call":
                await self._named(ask, Listed.TOOLS)
            case "prompts/get":
                await self._named(ask, Listed.PROMPTS)
            case "resources/read":
                await self._read(ask)
            case "completion/complete":
                await self._complete(ask)
            case "tasks/get" | "tasks/result" | "tasks/cancel" if ask.session is not None:
                await self._task(ask, ask.session)
            case method if method in _LISTS:
                await self._list(ask, _LISTS[method])
            case _:
                return False
        return True

    async def _list(self, ask: Ask, listed: Listed) -> None:
        number: int | None = 0
        if bytes(ask.fields.get("cursor", b"null")) != b"null":
            number = page_of(listed, ask.text("cursor") or "")
        if number is None:
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, f"unknown cursor of {listed.method}"))
            return
        await self._fleet.settle()
        failure = self._fleet.failure()
        if failure:
            await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, failure))
            return
        tail = MODERN_LIST_TAIL if ask.era is Era.MODERN else b"}"
        self._metrics.listed(listed.member, cached=self._catalog.has_page(listed))
        await ask.answer.result(self._catalog.page(listed, number) + tail)
        if self._access is not None:
            self._access.record(ask, "", "ok", 0.0)

    async def _named(self, ask: Ask, listed: Listed) -> None:
        name = ask.text("name")
        if name is None:
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params.name must be a string"))
            return
        route = self._catalog.route(listed, name)
        if route is None:
            # A replica that has just started may not have read it yet.
            await self._fleet.settle()
            route = self._catalog.route(listed, name)
        if route is None:
            await self._unknown(ask, listed, name)
            return
        if route.params and ask.headers is not None:
            mismatch = param_mismatch(route.params, ask.fields, ask.headers)
            if mismatch:
                await ask.answer.error(rpc_error(jsonrpc.HEADER_MISMATCH, mismatch))
                return
        if route.own != name:
            ask.fields["name"] = Raw(msgspec.json.encode(route.own))
            ask.params = b""
        if ask.span is not None:
            ask.span.named(name)
        await self.forward(ask, route)

    async def _read(self, ask: Ask) -> None:
        uri = ask.text("uri")
        if uri is None:
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params.uri must be a string"))
            return
        route = self._catalog.resource(uri)
        if route is None and ask.session is not None and await self._own(ask, ask.session):
            return
        if route is None:
            error = rpc_error(jsonrpc.INVALID_PARAMS, f"unknown resource: {uri}", {"uri": uri})
            await ask.answer.error(error)
            return
        await self.forward(ask, Route(route.upstream, uri, b""))

    async def _complete(self, ask: Ask) -> None:
        try:
            ref = fields_of(ask.fields["ref"])
            kind = text_of(ref["type"])
            name = text_of(ref["name" if kind == "ref/prompt" else "uri"])
        except (KeyError, msgspec.MsgspecError):
            message = "params.ref must be a ref/prompt with name or a ref/resource with uri"
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, message))
            return
        if kind == "ref/prompt":
            route = self._catalog.route(Listed.PROMPTS, name)
        else:
            route = self._catalog.route(Listed.TEMPLATES, name) or self._catalog.resource(name)
        if route is None:
            await self._unknown(ask, Listed.PROMPTS, name)
            return
        if kind == "ref/prompt" and route.own != name:
            ref["name"] = Raw(msgspec.json.encode(route.own))
            ask.fields["ref"] = Raw(msgspec.json.encode(ref))
            ask.params = b""
        await self.forward(ask, route)

    async def _task(self, ask: Ask, session: Session) -> None:
        task = ask.text("taskId") or ""
        upstream = self._fleet.upstreams.get(session.tasks.get(task, ""))
        if upstream is None:
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, f"unknown task: {task}"))
            return
        await self.forward(ask, Route(upstream, task, b""))

    async def _unknown(self, ask: Ask, listed: Listed, name: str) -> None:
        upstream = self._catalog.unlisted(listed, name)
        if upstream is not None:
            # It may exist: its backend was never seen well enough to know.
            because = "" if not upstream.usable else f"it has not listed its {listed.member} yet"
            await self._fail_fast(ask, upstream, because=because)
            return
        self._count(ask, "", "unknown")
        await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, f"unknown {listed.capability[:-1]}: {name}"))

    async def _fail_fast(self, ask: Ask, upstream: Upstream, *, because: str = "") -> None:
        self._count(ask, upstream.name, "unavailable")
        await ask.answer.error(unavailable(upstream, because=because, retry_s=1 if because else None))

    async def forward(self, ask: Ask, route: Route, *, started: float | None = None, reason: str = "") -> None:
        """Have the backend answer."""
        upstream = route.upstream
        if ask.span is not None:
            ask.span.routed(upstream.name)
        if ask.begun is None and not upstream.usable:
            await self._fail_fast(ask, upstream)
            return
        started = started or time.perf_counter()
        outcome = "failed"
        try:
            outcome = await self._flights.carry(ask, self._dialogues.carry(ask, route), reason=reason)
        except BackendError as error:
            await ask.answer.error(failed(upstream, error))
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._count(ask, upstream.name, outcome, time.perf_counter() - started)

    def _count(self, ask: Ask, backend: str, outcome: str, seconds: float = 0.0) -> None:
        self._metrics.called(backend, ask.method, outcome, seconds)
        if self._access is not None:
            self._access.record(ask, backend, outcome, seconds)
