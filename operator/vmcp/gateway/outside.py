"""What passes between a Legacy client and its backends outside of calls: subscriptions, levels, questions, news."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import rpc_error
from vmcp.gateway.ask import LOG_LEVELS, Ask
from vmcp.gateway.links import ASIDE_S, Link, Links
from vmcp.gateway.questions import CAPABILITY_OF
from vmcp.gateway.sessions import Session
from vmcp.gateway.sharing.memory import Kept, Memory
from vmcp.gateway.unavailable import failed, unavailable
from vmcp.gateway.upstream import Upstream
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import BackendError, Era, ListChanged, Message
from vmcp.mcp.dialect import CHANGES

log = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS: Final = 1_000
"""Of one client."""
MAX_ASKED: Final = 8
"""Backends asked for a resource that nobody lists."""
_SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


async def _forget(session: Session) -> None:
    """There is no other replica that would have to know."""


class Outside:
    """For all Legacy clients.

    Attributes:
        remember: awaited when something of a session changed that outlives this process.

    Args:
        links: their own sessions with backends.
        stale: told of a backend whose list changed.
        route: the backend of a resource.
        tasks: owns questions under way.
        upstream: the backend of that name.
    """

    def __init__(
        self,
        *,
        links: Links,
        stale: Callable[[str, ListChanged], None],
        route: Callable[[str], Upstream | None],
        tasks: asyncio.TaskGroup,
        upstream: Callable[[str], Upstream | None],
    ) -> None:
        self.remember: Callable[[Session], Awaitable[None]] = _forget
        self._upstream = upstream
        self._links = links
        self._stale = stale
        self._route = route
        self._tasks = tasks

    def link(self, session: Session, upstream: Upstream) -> Link:
        """The client's own session with a backend."""
        return self._links.of(
            session.ident,
            upstream,
            capabilities=session.capabilities,
            level=session.level,
            deliver=partial(self._heard, session),
            changed=partial(self.remember, session),
            kept=session.kept.get(upstream.name) if session.kept else None,
        )

    def ended(self, session: Session) -> None:
        """The client has left."""
        self._links.end(session.ident)

    def parted(self, ident: str, *, in_use: bool) -> None:
        """The session is not held here any more; it goes on elsewhere where it is in use."""
        self._links.end(ident, parting=in_use)

    def memory(self, session: Session) -> Memory:
        """What another replica must know of it."""
        kept = dict(session.kept)
        for link in self._links.of_session(session.ident):
            name = link.upstream.name
            kept[name] = Kept.of(link.upstream.fingerprint, sorted(link.uris), link.backend.kept())
        return Memory(session.level, session.apart, dict(session.tasks), kept)

    def recall(self, session: Session, memory: Memory) -> None:
        """Another replica knows this of it."""
        session.kept = memory.links
        here = {link.upstream.name: link for link in self._links.of_session(session.ident)}
        for name, kept in memory.links.items():
            upstream = self._upstream(name)
            if upstream is None or upstream.fingerprint != kept.fingerprint:
                continue
            if name in here:
                here[name].adopt(kept, session.level)
            elif kept.session or kept.uris:
                self.link(session, upstream)

    async def subscribe(self, ask: Ask, session: Session, *, on: bool) -> None:
        """Answer `resources/subscribe` (or `resources/unsubscribe`)."""
        uri = ask.text("uri")
        upstream = None if uri is None else self._route(uri)
        if uri is None or upstream is None:
            message = "params.uri must be a string" if uri is None else f"unknown resource: {uri}"
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, message, None if uri is None else {"uri": uri}))
            return
        if not upstream.usable:
            await ask.answer.error(unavailable(upstream))
            return
        if on and sum(len(link.uris) for link in self._links.of_session(session.ident)) >= MAX_SUBSCRIPTIONS:
            message = f"a client may subscribe to {MAX_SUBSCRIPTIONS} resources"
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, message))
            return
        session.apart = True
        link = self.link(session, upstream)
        try:
            reply = await (link.subscribe(uri) if on else link.unsubscribe(uri))
        except BackendError as error:
            await ask.answer.error(failed(upstream, error))
            return
        if reply is not None and reply.error is not None:
            await ask.answer.error(reply.error)
        else:
            await ask.answer.result(b"{}")

    async def read(self, ask: Ask, session: Session) -> bool:
        """Answer `resources/read` of a resource that nobody lists, if a backend has made it for this client alone."""
        for link in self._links.of_session(session.ident)[:MAX_ASKED]:
            if not link.upstream.usable or "resources" not in link.backend.capabilities:
                continue
            try:
                reply = await link.ask("resources/read", ask.params or msgspec.json.encode(ask.fields))
            except BackendError:
                continue
            if reply.result is not None and link.backend.era is Era.LEGACY:
                await ask.answer.result(reply.result)
                return True
        return False

    async def set_level(self, ask: Ask, session: Session) -> None:
        """Answer `logging/setLevel`."""
        level = ask.text("level")
        if level not in LOG_LEVELS:
            known = ", ".join(LOG_LEVELS)
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, f"level must be one of {known}"))
            return
        session.log_level = LOG_LEVELS.index(level)
        session.level = level
        session.apart = True
        await asyncio.gather(*(link.set_level(level) for link in self._links.of_session(session.ident)))
        await self.remember(session)
        await ask.answer.result(b"{}")

    def notified(self, session: Session, message: Message) -> bool:
        """The client says something that may concern its backends; False = if so, none that it has here."""
        if message.method not in ("notifications/roots/list_changed", "notifications/progress"):
            return True
        if message.method == "notifications/progress" and not session.questions:
            return False
        open_here = [link for link in self._links.of_session(session.ident) if link.backend.openings]
        for link in open_here:
            self._tasks.create_task(_pass_on(link, message))
        return bool(open_here)

    def _heard(self, session: Session, link: Link, message: Message) -> None:
        if message.method in CHANGES:
            # Told as a change of the aggregated list, once that has been read anew.
            self._stale(link.upstream.name, CHANGES[message.method])
        elif message.is_request:
            self._tasks.create_task(self._ask(session, link, message))
        elif message.method == "notifications/message" and _level_of(message) < session.log_level:
            return
        elif message.method:
            session.post(_without_subscription(message))

    async def _ask(self, session: Session, link: Link, question: Message) -> None:
        ident = question.id or b"null"
        try:
            if question.method == "ping":
                answer = jsonrpc.encode_result(ident, b"{}")
            elif CAPABILITY_OF.get(question.method) in session.declared:
                response = await session.questions.ask(session.tell, question.method, question.params or b"")
                answer = (
                    jsonrpc.encode_error(ident, response.error)
                    if response.error is not None
                    else jsonrpc.encode_result(ident, response.result or b"{}")
                )
            else:
                error = rpc_error(jsonrpc.METHOD_NOT_FOUND, f"the client does not serve {question.method}")
                answer = jsonrpc.encode_error(ident, error)
            await link.backend.post(answer, timeout=ASIDE_S)
        except BackendError as error:
            log.info("backend %s: an answer of a client did not reach it: %s", link.upstream.name, error)
        except Exception:
            log.exception("backend %s: a client could not be asked", link.upstream.name)


def _level_of(message: Message) -> int:
    try:
        return LOG_LEVELS.index(msgspec.json.decode(_fields_of(message.params or b"{}")["level"], type=str))
    except (KeyError, ValueError):
        return 0


def _without_subscription(message: Message) -> bytes:
    """A Modern backend's message without the id of our own subscription."""
    if _SUBSCRIPTION_ID.encode() not in message.raw or message.params is None:
        return message.raw
    try:
        fields = _fields_of(message.params)
        meta = _fields_of(fields.pop("_meta"))
        del meta[_SUBSCRIPTION_ID]
    except (KeyError, ValueError):
        # It only speaks of it.
        return message.raw
    if meta:
        fields["_meta"] = Raw(msgspec.json.encode(meta))
    return jsonrpc.encode_notification(message.method, msgspec.json.encode(fields))


async def _pass_on(link: Link, message: Message) -> None:
    try:
        await link.backend.notify(message.method, message.params or b"", timeout=ASIDE_S)
    except BackendError as error:
        log.info("backend %s: a client's notification did not reach it: %s", link.upstream.name, error)
    except Exception:
        log.exception("backend %s: a client's notification could not be passed on", link.upstream.name)
