"""Joins many clients to the one session with the server: their calls, what it asks them, and what it tells them.

The server's messages do not say which client they are for. Progress goes by its token. What it asks goes to the client
whose call is under way; where several have one, to the one heard of last among those that can be asked. What it tells
goes to the clients with a call under way, and to all when there is none.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import rpc_error
from vmcp.gateway.ask import LOG_LEVELS, Ask, fields_of
from vmcp.gateway.changes import Changed, Changes
from vmcp.gateway.flights import Flights
from vmcp.gateway.legacy import VERSIONS
from vmcp.gateway.questions import ANSWER_S, CAPABILITY_OF
from vmcp.gateway.seal import Seal
from vmcp.gateway.sessions import Session, Sessions
from vmcp.mcp import jsonrpc
from vmcp.mcp.exchange import Deadline
from vmcp.mcp.jsonrpc import Message
from vmcp.stdio.call import Call, NotSent, ServerLost
from vmcp.stdio.metrics import Metrics
from vmcp.stdio.server import Server

log = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS: Final = 1_000
"""Of one client."""
LAST_ANSWERS_S: Final = 1.0
"""For the errors of calls whose server is gone, before the sessions end."""
MOST_TOLD_BYTES: Final = 256 * 1024
"""Of one notification; 256 are kept for a client that has no stream open."""

_BESIDE: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
_CHANGES: Final = {each.value: each for each in Changed}
_OURS: Final = frozenset({"notifications/initialized", "notifications/cancelled"})


class Relay:
    """All clients of one server.

    Args:
        make_server: makes the server that is to call this relay's `heard` and `lost`.
        tasks: owns what is asked of clients, and the watches of long calls.
        timeout_s: for one call. While a client is asked something, its calls wait longer.
    """

    def __init__(
        self,
        make_server: Callable[["Relay"], Server],
        *,
        changes: Changes,
        tasks: asyncio.TaskGroup,
        timeout_s: float,
        metrics: Metrics,
    ) -> None:
        self._changes = changes
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._under_way: dict[Call, Ask] = {}
        self._flights = Flights(tasks)
        self._quiet = asyncio.Event()
        self._questions: dict[bytes, asyncio.Task[None]] = {}
        self._subscribers: dict[str, set[Session]] = {}
        self.sessions = Sessions(changes, seal=Seal.of_this_process(), ended=self._left)
        self.server = make_server(self)

    # what clients say

    def welcome(self, wanted: str) -> Mapping[str, object]:
        """The server's own answer to `initialize`, under the client's revision where that is no newer."""
        revision = self.server.revision
        return {**self.server.greeting, "protocolVersion": min(wanted, revision) if wanted in VERSIONS else revision}

    async def handle(self, ask: Ask) -> bool:
        """Have the server answer; False for what Legacy takes up with us otherwise."""
        if ask.method in _BESIDE:
            return False
        await self._carry(ask)
        return True

    def notified(self, session: Session, message: Message) -> None:
        """Pass it on. That the session has begun, the server knows; and it has one for all."""
        if message.method not in _OURS:
            self.server.notify(message)

    async def set_level(self, ask: Ask, session: Session) -> None:
        """The server logs from the lowest level on that a client has chosen; each is shown its own."""
        level = ask.text("level")
        if level not in LOG_LEVELS:
            message = f"level must be one of {', '.join(LOG_LEVELS)}"
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, message))
            return
        session.level = level
        session.log_level = LOG_LEVELS.index(level)
        # Its own beside them: it may have ended while a batch of its went on.
        lowest = min([session.log_level, *(each.log_level for each in self.sessions if each.level)])
        ask.params = msgspec.json.encode({**ask.fields, "level": LOG_LEVELS[lowest]})
        await self._carry(ask)

    async def subscribe(self, ask: Ask, session: Session, *, on: bool) -> None:
        """The server is told of the first that subscribes and of the last that does not any more."""
        uri = ask.text("uri")
        if uri is None:
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params.uri must be a string"))
            return
        subscribers = self._subscribers.get(uri, set())
        if not on:
            subscribers.discard(session)
            if subscribers:
                await ask.answer.result(b"{}")
            else:
                # Before the server is told: who subscribes meanwhile is the first one again.
                self._subscribers.pop(uri, None)
                await self._carry(ask)
        elif sum(session in each for each in self._subscribers.values()) >= MAX_SUBSCRIPTIONS:
            message = f"a client may subscribe to {MAX_SUBSCRIPTIONS} resources"
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, message))
        elif subscribers:
            subscribers.add(session)
            await ask.answer.result(b"{}")
        elif await self._carry(ask):
            self._subscribers.setdefault(uri, set()).add(session)

    def give_up_calls(self, reason: str) -> None:
        """End every call under way with an error, and tell the server."""
        self._flights.give_up(reason)

    # what the server says

    def heard(self, message: Message) -> None:
        """A request of the server, or a notification that is no progress."""
        if message.is_request:
            self._asked(message)
        elif message.method == "notifications/cancelled":
            task = self._questions.get(_member(message, "requestId"))
            if task is not None:
                task.cancel()
        elif message.method in _CHANGES:
            self._changes.publish((_CHANGES[message.method],))
        elif len(message.raw) > MOST_TOLD_BYTES:
            log.warning("a notification of the server is too long to be kept for clients: %s", message.method[:100])
        elif message.method == "notifications/resources/updated":
            # It may name a part of what was subscribed to: whoever subscribed to something sees for himself.
            for session in set[Session]().union(*self._subscribers.values()):
                session.listener.post(message.raw)
        else:
            level = _level_of(message) if message.method == "notifications/message" else len(LOG_LEVELS)
            self._tell(message.raw, level)

    async def lost(self) -> None:
        """The server is gone: its clients begin anew."""
        for task in self._questions.values():
            task.cancel()
        try:
            async with asyncio.timeout(LAST_ANSWERS_S):
                while self._under_way:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            log.debug("%d clients have not read yet that the server is gone", len(self._under_way))
        self._subscribers.clear()
        for session in self.sessions:
            self.sessions.close(session.ident, identity=session.identity)

    # private

    async def _carry(self, ask: Ask) -> bool:
        """Answer the request with what the server says; whether that is a result."""
        started = time.perf_counter()
        outcome = "failed"
        try:
            outcome = await self._flights.carry(ask, self._converse(ask))
        except NotSent as reason:
            await ask.answer.error(rpc_error(jsonrpc.BACKEND_UNAVAILABLE, f"the server is unavailable: {reason}"))
        except ServerLost as lost:
            await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, f"the server gave no answer: {lost}"))
        except TimeoutError:
            message = f"the server did not answer within {self._timeout_s:g} s"
            await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, message))
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._metrics.called(ask.method, outcome, time.perf_counter() - started)
        return outcome == "ok"

    async def _converse(self, ask: Ask) -> str:
        deadline = Deadline(asyncio.get_running_loop().time() + self._timeout_s)
        call = await self.server.begin(ask.method, ask.params, deadline)
        self._under_way[call] = ask
        try:
            while (message := await call.next()) is not None:
                await ask.answer.event(message)
            response = call.response()
        except asyncio.CancelledError:
            self.server.cancel(call, "the client gave the call up")
            raise
        except TimeoutError:
            self.server.cancel(call, "timed out")
            raise
        finally:
            del self._under_way[call]
            self._quiet.set()
        if response.error is not None:
            await ask.answer.error(response.error)
            return "error"
        await ask.answer.result(response.result or b"{}")
        return "ok"

    def _tell(self, message: bytes, level: int) -> None:
        callers = self._callers()
        for session in callers or self.sessions:
            if level >= session.log_level:
                self._tell_one(session, callers.get(session, ()), message)

    def _tell_one(self, session: Session, calls: "list[Call] | tuple[()]", message: bytes) -> None:
        """On the stream of the client's only call, else on its GET stream."""
        if len(calls) == 1 and self._under_way[calls[0]].answer.streams:
            calls[0].tell(message)
        else:
            session.listener.post(message)

    def _callers(self) -> dict[Session, list[Call]]:
        callers: dict[Session, list[Call]] = {}
        for call, ask in self._under_way.items():
            # What the server says after its response is about something else.
            if ask.session is not None and not call.over:
                callers.setdefault(ask.session, []).append(call)
        return callers

    def _asked(self, question: Message) -> None:
        ident = question.id or b"null"
        capability = CAPABILITY_OF.get(question.method)
        able = [session for session in self._callers() or self.sessions if capability in session.declared]
        if not able:
            error = rpc_error(jsonrpc.METHOD_NOT_FOUND, f"{question.method}: no client that could be asked")
            self.server.answer(ident, None, error)
            return
        session = max(able, key=lambda each: each.used_at)
        self._questions[ident] = task = self._tasks.create_task(self._ask(session, ident, question))
        task.add_done_callback(lambda _: self._questions.pop(ident, None))

    async def _ask(self, session: Session, ident: bytes, question: Message) -> None:
        async def tell(message: bytes) -> None:
            self._tell_one(session, self._callers().get(session, ()), message)

        server = self.server
        self._let_wait(session, ANSWER_S + self._timeout_s)
        try:
            try:
                response = await session.questions.ask(tell, question.method, question.params or b"")
            finally:
                self._let_wait(session, self._timeout_s)
            server.answer(ident, response.result, response.error)
        except Exception:
            log.exception("a client could not be asked")

    def _let_wait(self, session: Session, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        for call in self._callers().get(session, ()):
            call.deadline.move(until)

    def _left(self, session: Session) -> None:
        for uri, subscribers in list(self._subscribers.items()):
            subscribers.discard(session)
            if not subscribers:
                del self._subscribers[uri]
                self.server.say("resources/unsubscribe", msgspec.json.encode({"uri": uri}))


def _member(message: Message, name: str) -> bytes:
    try:
        return bytes(fields_of(message.params or b"{}").get(name, Raw(b"")))
    except msgspec.MsgspecError:
        return b""


def _level_of(message: Message) -> int:
    try:
        return LOG_LEVELS.index(msgspec.json.decode(_member(message, "level"), type=str))
    except (ValueError, msgspec.MsgspecError):
        return 0
