"""Carries one request to its backend, and what comes of it to the client: notifications, questions, the response.

Backends ask in two ways, clients are asked in two ways, and all four pairs work:

- Legacy backend, Legacy client: the request goes to the client on the stream of its call, the answer back.
- Modern backend, Modern client: `input_required` and the retry pass through.
- Modern backend, Legacy client: the client is sent what `input_required` asks, and the call repeated with its answers.
- Legacy backend, Modern client: the client gets `input_required`; the call is held open until it comes back (`held`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import rpc_error
from vmcp.gateway.ask import LOG_LEVELS, Ask, fields_of
from vmcp.gateway.catalog import Route
from vmcp.gateway.held import STATE_PREFIX, HeldCall, HeldCalls
from vmcp.gateway.links import Link
from vmcp.gateway.params import param_headers
from vmcp.gateway.passive import Ear
from vmcp.gateway.passthrough import Passed, beside
from vmcp.gateway.questioning import Questioning, may_be_asked, tell_of, undeclared
from vmcp.gateway.results import InputRequired, for_legacy, for_modern, without_envelope
from vmcp.gateway.sessions import Session
from vmcp.gateway.upstream import Upstream
from vmcp.gateway.urlelicitation import OPENED_STATE, links_to_open
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import Backend, BackendError, Era, Exchange, ListChanged, Message, Reply
from vmcp.mcp.jsonrpc import JsonRpcError

log = logging.getLogger(__name__)

MOST_ROUNDS: Final = 32
"""Rounds of questions of one call."""

_BACKEND_CHANGED: Final = {
    "notifications/tools/list_changed": ListChanged.TOOLS,
    "notifications/prompts/list_changed": ListChanged.PROMPTS,
    "notifications/resources/list_changed": ListChanged.RESOURCES,
}
_PASSED_ON: Final = frozenset(
    {"notifications/progress", "notifications/elicitation/complete", "notifications/tasks/status"}
)


class _LogParams(msgspec.Struct, frozen=True):
    level: str = "debug"


class _Log(msgspec.Struct):
    params: _LogParams = _LogParams()


class _Task(msgspec.Struct, rename="camel"):
    task_id: str


class _Created(msgspec.Struct):
    task: _Task


class _Question(msgspec.Struct):
    method: str
    params: Raw = Raw(b"")


class _Refused(Exception):
    """The client does not answer; the call ends with this error."""

    def __init__(self, error: JsonRpcError) -> None:
        super().__init__(error.message)
        self.error = error


class Dialogues:
    """All requests under way.

    Args:
        link: a Legacy client's own session with a backend.
        passive: hears how calls go.
        stale: told of a backend whose list changed.
        tasks: owns what waits for a client while its call goes on.
        place: of `HeldCalls`.
    """

    def __init__(
        self,
        *,
        link: Callable[[Session, Upstream], Link],
        passive: Ear,
        stale: Callable[[str, ListChanged], None],
        tasks: asyncio.TaskGroup,
        place: str = "",
    ) -> None:
        self._link = link
        self._passive = passive
        self._stale = stale
        self._tasks = tasks
        self._held = HeldCalls(place)

    async def carry(self, ask: Ask, route: Route) -> str:
        """Answer the request; returns the outcome for the metrics. Raises BackendError: there is no answer."""
        upstream = route.upstream
        state = ask.text("requestState") if ask.era is Era.MODERN and "requestState" in ask.fields else None
        if state is not None and state.startswith(STATE_PREFIX):
            return await self._resume(ask, route, state)
        if state == OPENED_STATE:
            # The person has been where the backend wanted: the same call again is what it waits for.
            ask.fields.pop("inputResponses", None)
            del ask.fields["requestState"]
            ask.params = b""
        session = ask.session
        if session is not None and "task" in ask.fields:
            # Servers keep tasks per session.
            session.apart = True
        # What was sent already was sent on the session that all share.
        if session is None or not session.apart or ask.begun is not None:
            return await self._converse(ask, route, upstream.backend)
        link = self._link(session, upstream)
        link.calls += 1
        try:
            await self._open(upstream, link)
            return await self._converse(ask, route, link.backend)
        finally:
            link.calls -= 1

    def sweep(self) -> None:
        """Give up calls whose client never came back."""
        for call in self._held.expired():
            self._give_up(call.exchange, "the client did not answer")

    def close(self) -> None:
        """Give up all calls that wait for a client."""
        for call in self._held.all():
            self._give_up(call.exchange, "the gateway is stopping")

    async def _converse(self, ask: Ask, route: Route, backend: Backend) -> str:
        upstream = route.upstream
        if backend.era is None:
            # What goes to the backend depends on it.
            await self._open(upstream, backend)
        legacy_ask = ask.era is Era.LEGACY and backend.era is Era.MODERN
        for _ in range(MOST_ROUNDS):
            try:
                exchange = await backend.request(
                    ask.method,
                    _params(ask, backend),
                    name=route.own,
                    timeout=upstream.timeout_s,
                    headers=_headers(ask, route),
                    client_capabilities=ask.capabilities,
                    log_level=LOG_LEVELS[ask.log_level] if legacy_ask else "",
                    begun=ask.begun,
                )
            except BackendError as error:
                self._passive.failed(upstream, error)
                raise
            self._passive.reached(upstream)
            ask.begun = None
            try:
                return await self._follow(ask, route, exchange)
            except InputRequired as required:
                try:
                    await self._ask_legacy_client(ask, upstream, required)
                except _Refused as refused:
                    await ask.answer.error(refused.error)
                    return "error"
        message = f"backend '{upstream.name}' asked {MOST_ROUNDS} times for input and gave no result"
        await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, message))
        return "failed"

    async def _open(self, upstream: Upstream, backend: Backend | Link) -> None:
        try:
            await backend.open(timeout=upstream.timeout_s)
        except BackendError as error:
            self._passive.failed(upstream, error)
            raise

    async def _follow(
        self, ask: Ask, route: Route, exchange: Exchange, answers: Iterable[tuple[bytes, bytes]] = ()
    ) -> str:
        asked: Questioning | None = None
        try:
            for ident, answer in answers:
                await exchange.answer(ident, result=answer)
            if exchange.streaming:
                async for message in exchange:
                    if not message.is_request:
                        if message.method == "notifications/cancelled" and asked is not None:
                            asked.withdraw(message)
                        await self._notified(ask, route.upstream, message)
                    elif not may_be_asked(ask, message.method):
                        await exchange.answer(message.id or b"null", error=undeclared(message.method))
                    elif ask.session is not None:
                        asked = asked or Questioning(ask, ask.session, exchange, route.upstream, self._tasks)
                        asked.carry(message)
                    elif self._held.full(route.upstream):
                        busy = rpc_error(jsonrpc.INTERNAL_ERROR, "too many calls wait for their clients")
                        await exchange.answer(message.id or b"null", error=busy)
                    else:
                        told = self._held.hold(ask.method, route.own, route.upstream, exchange, message)
                        await ask.answer.result(told)
                        return "asked"
            reply = await exchange.response()
        except (asyncio.CancelledError, BackendError) as error:
            # The backend may still be at work. Nobody waits for it to hear that it need not be.
            self._give_up(exchange, "timed out" if isinstance(error, BackendError) else "the client gave the call up")
            raise
        finally:
            if asked is not None:
                await asked.end()
        return await self._respond(ask, route.upstream, exchange.era, reply)

    async def _resume(self, ask: Ask, route: Route, state: str) -> str:
        call = self._held.take(state, ask.method, route.own)
        if call is None:
            message = "requestState is not known here: the call was given up or is another replica's; call again"
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, message))
            return "error"
        answers = _responses(ask, call)
        if answers is None:
            self._held.put_back(state, call)
            await ask.answer.result(call.told)
            return "asked"
        loop = asyncio.get_running_loop()
        call.exchange.wait_until(loop.time() + call.upstream.timeout_s)
        return await self._follow(ask, route, call.exchange, answers)

    async def _notified(self, ask: Ask, upstream: Upstream, message: Message) -> None:
        if message.method in _PASSED_ON or (
            message.method == "notifications/message" and _level_of(message.raw) >= ask.log_level
        ):
            await ask.answer.event(message.raw)
        elif message.method in _BACKEND_CHANGED:
            self._stale(upstream.name, _BACKEND_CHANGED[message.method])

    async def _respond(self, ask: Ask, upstream: Upstream, era: Era, reply: Reply) -> str:
        if reply.error is not None:
            asked = links_to_open(ask, reply.error)
            if asked is not None:
                await ask.answer.result(asked)
                return "asked"
            await ask.answer.error(reply.error)
            return "error"
        result = reply.result or b"{}"
        if ask.session is not None and "task" in ask.fields:
            _note_task(ask.session, upstream, result)
        if era is not ask.era:
            try:
                if ask.era is Era.MODERN:
                    result = for_modern(result, cached=ask.method == "resources/read")
                else:
                    result = for_legacy(result)
            except ValueError:
                message = f"backend '{upstream.name}' answered with a result that is no object"
                await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, message))
                return "failed"
        await ask.answer.result(result)
        return "ok"

    async def _ask_legacy_client(self, ask: Ask, upstream: Upstream, required: InputRequired) -> None:
        """Ask the client what the backend asks, and add the answers to the request. Raises _Refused."""
        try:
            questions = {key: msgspec.json.decode(raw, type=_Question) for key, raw in required.requests.items()}
        except ValueError:
            message = f"backend '{upstream.name}' asks for input in a form that is none"
            raise _Refused(rpc_error(jsonrpc.INTERNAL_ERROR, message)) from None
        session = ask.session
        for question in questions.values():
            if session is None or not may_be_asked(ask, question.method):
                message = f"backend '{upstream.name}' asks for input ({question.method}), which this client cannot give"
                raise _Refused(rpc_error(jsonrpc.INTERNAL_ERROR, message))
        responses: dict[str, Raw] = {}
        if session is not None:
            asked = [
                session.questions.ask(tell_of(ask, session), question.method, bytes(question.params))
                for question in questions.values()
            ]
            for (key, question), response in zip(questions.items(), await asyncio.gather(*asked), strict=True):
                responses[key] = _response_to(question.method, response)
        ask.fields.pop("inputResponses", None)
        ask.fields.pop("requestState", None)
        if responses:
            ask.fields["inputResponses"] = Raw(msgspec.json.encode(responses))
        if required.state is not None:
            ask.fields["requestState"] = required.state
        ask.params = b""

    def _give_up(self, exchange: Exchange, reason: str) -> None:
        self._tasks.create_task(_cancelled(exchange, reason))


def _responses(ask: Ask, call: HeldCall) -> list[tuple[bytes, bytes]] | None:
    """(the backend's request id, the client's result) of every question; None where one is not answered."""
    try:
        given = fields_of(ask.fields["inputResponses"])
        return [(ident, bytes(given[key])) for key, ident in call.questions.items()]
    except (KeyError, msgspec.MsgspecError):
        return None


def _response_to(method: str, response: Message) -> Raw:
    """What a Modern backend is told. Raises _Refused: the client answered with an error that has no other form."""
    if response.error is None:
        return Raw(response.result or b"{}")
    if method == "elicitation/create":
        return Raw(b'{"action":"cancel"}')
    raise _Refused(response.error)


def _params(ask: Ask, backend: Backend) -> bytes:
    meta = ask.fields.get("_meta")
    if meta is not None and ask.era is Era.MODERN and backend.era is Era.LEGACY:
        ask.fields["_meta"] = Raw(without_envelope(meta))
        ask.params = b""
    return ask.params or msgspec.json.encode(ask.fields)


def _note_task(session: Session, upstream: Upstream, result: bytes) -> None:
    try:
        session.began(msgspec.json.decode(result, type=_Created).task.task_id, upstream.name)
    except ValueError:
        # It was answered at once.
        return


def _level_of(raw: bytes) -> int:
    try:
        return LOG_LEVELS.index(msgspec.json.decode(raw, type=_Log).params.level)
    except ValueError:
        return 0


def _headers(ask: Ask, route: Route) -> Passed:
    """What goes on of the client's headers, and those that a Modern backend wants to see of the arguments."""
    passed = beside(ask.passed, route.upstream.own_headers) if ask.passed else ()
    return passed + param_headers(route.params, ask.fields) if route.params else passed


async def _cancelled(exchange: Exchange, reason: str) -> None:
    try:
        await exchange.cancel(reason=reason)
    except Exception:
        log.exception("a call could not be cancelled")
