"""Answers the methods that both eras share: lists from the catalog, everything else from the one backend it names."""

import asyncio
import logging
import time

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import rpc_error
from vmcp.gateway.ask import LOG_LEVELS, Ask, fields_of, text_of
from vmcp.gateway.catalog import Catalog, Route
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.flight import Flight, watch_client
from vmcp.gateway.listing import Listed
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.results import MODERN_LIST_TAIL, InputRequired, for_legacy, for_modern, without_envelope
from vmcp.gateway.unavailable import failed, unavailable
from vmcp.gateway.upstream import Upstream
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import BackendError, Era, Exchange, ListChanged, Message, Reply

log = logging.getLogger(__name__)

WATCH_AFTER_S = 0.25
"""A call younger than this is not watched for its client leaving: most are over by then, and a watch costs a task."""

_LISTS = {listed.method: listed for listed in Listed}
_BACKEND_CHANGED = {
    "notifications/tools/list_changed": ListChanged.TOOLS,
    "notifications/prompts/list_changed": ListChanged.PROMPTS,
    "notifications/resources/list_changed": ListChanged.RESOURCES,
}


class _LogParams(msgspec.Struct, frozen=True):
    level: str = "debug"


class _Log(msgspec.Struct):
    params: _LogParams = _LogParams()


class Router:
    """Answers requests.

    Args:
        passive: hears how calls go.
        tasks: owns the watches of long calls.
    """

    def __init__(
        self, *, fleet: Fleet, catalog: Catalog, metrics: Metrics, passive: Passive, tasks: asyncio.TaskGroup
    ) -> None:
        self._fleet = fleet
        self._catalog = catalog
        self._passive = passive
        self._metrics = metrics
        self._tasks = tasks
        self._flights: set[Flight] = set()

    def give_up_calls(self, reason: str) -> None:
        """End every call under way: its client gets an error, its backend hears that it need not go on."""
        for flight in tuple(self._flights):
            flight.cancel(reason)

    async def handle(self, ask: Ask) -> bool:
        """Answer the request; False when its method is none of the shared ones and nothing was answered."""
        match ask.method:
            case "tools/call":
                await self._named(ask, Listed.TOOLS)
            case "prompts/get":
                await self._named(ask, Listed.PROMPTS)
            case "resources/read":
                await self._read(ask)
            case "completion/complete":
                await self._complete(ask)
            case method if method in _LISTS:
                await self._list(ask, _LISTS[method])
            case _:
                return False
        return True

    async def _list(self, ask: Ask, listed: Listed) -> None:
        if bytes(ask.fields.get("cursor", b"null")) != b"null":
            # Our lists have one page, so that no cursor was ever ours.
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "unknown cursor; lists here have one page"))
            return
        await self._fleet.settle()
        failure = self._fleet.failure()
        if failure:
            await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, failure))
            return
        tail = MODERN_LIST_TAIL if ask.era is Era.MODERN else b"}"
        await ask.answer.result(self._catalog.page(listed) + tail)

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
        if route.own != name:
            ask.fields["name"] = Raw(msgspec.json.encode(route.own))
            ask.params = b""
        await self._forward(ask, route)

    async def _read(self, ask: Ask) -> None:
        uri = ask.text("uri")
        if uri is None:
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params.uri must be a string"))
            return
        route = self._catalog.resource(uri)
        if route is None:
            error = rpc_error(jsonrpc.INVALID_PARAMS, f"unknown resource: {uri}", {"uri": uri})
            await ask.answer.error(error)
            return
        await self._forward(ask, Route(route.upstream, uri, b""))

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
        await self._forward(ask, route)

    async def _unknown(self, ask: Ask, listed: Listed, name: str) -> None:
        upstream = self._catalog.unlisted(listed, name)
        if upstream is not None:
            # It may exist: its backend was never seen well enough to know.
            because = "" if not upstream.usable else f"it has not listed its {listed.member} yet"
            await self._fail_fast(ask, upstream, because=because)
            return
        self._metrics.called("", ask.method, "unknown", 0.0)
        await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, f"unknown {listed.capability[:-1]}: {name}"))

    async def _fail_fast(self, ask: Ask, upstream: Upstream, *, because: str = "") -> None:
        self._metrics.called(upstream.name, ask.method, "unavailable", 0.0)
        await ask.answer.error(unavailable(upstream, because=because, retry_s=1 if because else None))

    async def _forward(self, ask: Ask, route: Route) -> None:
        upstream = route.upstream
        if not upstream.usable:
            await self._fail_fast(ask, upstream)
            return
        started = time.perf_counter()
        outcome = "failed"
        flight = Flight()
        self._flights.add(flight)
        if ask.flights is not None:
            ask.flights[ask.answer.ident] = flight
        watch = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._watch, ask, flight)
        try:
            outcome = await self._exchange(ask, route)
        except BackendError as error:
            await ask.answer.error(failed(upstream, error))
        except asyncio.CancelledError:
            outcome = "cancelled"
            if not flight.given_up():
                raise
            await ask.answer.error(rpc_error(jsonrpc.REQUEST_CANCELLED, f"Request cancelled: {flight.reason}"))
        finally:
            flight.end()
            self._flights.discard(flight)
            watch.cancel()
            if ask.flights is not None and ask.flights.get(ask.answer.ident) is flight:
                del ask.flights[ask.answer.ident]
            self._metrics.called(upstream.name, ask.method, outcome, time.perf_counter() - started)

    async def _exchange(self, ask: Ask, route: Route) -> str:
        upstream = route.upstream
        try:
            exchange = await upstream.backend.request(
                ask.method,
                self._params(ask, upstream),
                name=route.own,
                timeout=upstream.timeout_s,
                headers=_header_values(ask, route) if route.params else (),
                client_capabilities=ask.capabilities,
            )
        except BackendError as error:
            self._passive.failed(upstream, error)
            raise
        self._passive.reached(upstream)
        try:
            if exchange.streaming:
                async for message in exchange:
                    await self._before_response(ask, upstream, exchange, message)
            reply = await exchange.response()
        except (asyncio.CancelledError, BackendError) as error:
            # The backend may still be at work. Nobody waits for it to hear that it need not be.
            reason = "timed out" if isinstance(error, BackendError) else "the client gave the call up"
            self._tasks.create_task(_give_up(exchange, reason))
            raise
        return await self._respond(ask, upstream, reply)

    def _params(self, ask: Ask, upstream: Upstream) -> bytes:
        meta = ask.fields.get("_meta")
        if meta is not None and ask.era is Era.MODERN and upstream.backend.era is Era.LEGACY:
            ask.fields["_meta"] = Raw(without_envelope(meta))
            ask.params = b""
        return ask.params or msgspec.json.encode(ask.fields)

    async def _before_response(self, ask: Ask, upstream: Upstream, exchange: Exchange, message: Message) -> None:
        if message.is_request:
            # Sampling, elicitation and roots are not carried to clients yet; an answer keeps the call from hanging.
            error = rpc_error(jsonrpc.METHOD_NOT_FOUND, f"{message.method} is not available through this gateway")
            if message.id is not None:
                await exchange.answer(bytes(message.id), error=error)
        elif message.method == "notifications/progress" or (
            message.method == "notifications/message" and _level_of(message.raw) >= ask.log_level
        ):
            await ask.answer.event(message.raw)
        elif message.method in _BACKEND_CHANGED:
            self._fleet.stale(upstream.name, _BACKEND_CHANGED[message.method])

    async def _respond(self, ask: Ask, upstream: Upstream, reply: Reply) -> str:
        if reply.error is not None:
            await ask.answer.error(reply.error)
            return "error"
        result = reply.result or b"{}"
        era = upstream.backend.era
        if era is not ask.era and era is not None:
            try:
                if ask.era is Era.MODERN:
                    result = for_modern(result, cached=ask.method == "resources/read")
                else:
                    result = for_legacy(result)
            except InputRequired:
                message = (
                    f"backend '{upstream.name}' asks for input, which a client of this protocol revision cannot give"
                )
                await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, message))
                return "error"
            except msgspec.MsgspecError:
                message = f"backend '{upstream.name}' answered with a result that is no object"
                await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, message))
                return "failed"
        await ask.answer.result(result)
        return "ok"

    def _watch(self, ask: Ask, flight: Flight) -> None:
        if ask.receive is not None:
            self._tasks.create_task(watch_client(ask.receive, lambda: flight.cancel("client left")))


async def _give_up(exchange: Exchange, reason: str) -> None:
    try:
        await exchange.cancel(reason=reason)
    except Exception:
        log.exception("a call could not be cancelled")


def _level_of(raw: bytes) -> int:
    try:
        return LOG_LEVELS.index(msgspec.json.decode(raw, type=_Log).params.level)
    except (msgspec.MsgspecError, ValueError):
        return 0


def _header_values(ask: Ask, route: Route) -> tuple[tuple[str, str], ...]:
    try:
        arguments = fields_of(ask.fields["arguments"])
    except (KeyError, msgspec.MsgspecError):
        return ()
    values = []
    for header, argument in route.params:
        raw = arguments.get(argument)
        if raw is not None and bytes(raw) != b"null":
            value = msgspec.json.decode(raw)
            text = value if isinstance(value, str) else bytes(raw).decode()
            if text.isascii() and text.isprintable():
                values.append((header, text))
    return tuple(values)
