"""What a backend asks in the middle of a call, carried to the Legacy client that made it."""

import asyncio
import logging

from vmcp.gateway.answer import rpc_error
from vmcp.gateway.ask import Ask, fields_of
from vmcp.gateway.questions import ANSWER_S, CAPABILITY_OF, Tell
from vmcp.gateway.sessions import Session, declared_in
from vmcp.gateway.upstream import Upstream
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import BackendError, Exchange, Message
from vmcp.mcp.jsonrpc import JsonRpcError

log = logging.getLogger(__name__)


class Questioning:
    """What a Legacy backend asks in the middle of one call of a Legacy client."""

    def __init__(
        self, ask: Ask, session: Session, exchange: Exchange, upstream: Upstream, tasks: asyncio.TaskGroup
    ) -> None:
        self._tell = tell_of(ask, session)
        self._questions = session.questions
        self._exchange = exchange
        self._timeout_s = upstream.timeout_s
        self._tasks = tasks
        self._open: dict[bytes, asyncio.Task[None]] = {}

    def carry(self, question: Message) -> None:
        """Ask the client; the call's own time stands still meanwhile."""
        ident = question.id or b"null"
        if ident in self._open:
            return
        self._exchange.wait_until(asyncio.get_running_loop().time() + ANSWER_S + self._timeout_s)
        self._open[ident] = self._tasks.create_task(self._carry(ident, question))

    def withdraw(self, cancelled: Message) -> None:
        """The backend no longer wants to know."""
        try:
            ident = bytes(fields_of(cancelled.params or b"{}")["requestId"])
        except (KeyError, ValueError):
            return
        if ident in self._open:
            self._open[ident].cancel()
            self._over(ident)

    async def end(self) -> None:
        """The call is over, and with it all that is still asked: the client is told so before it gets the response."""
        under_way = tuple(self._open.values())
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)

    async def _carry(self, ident: bytes, question: Message) -> None:
        try:
            response = await self._questions.ask(self._tell, question.method, question.params or b"")
            self._over(ident)
            await self._exchange.answer(ident, result=response.result, error=response.error)
        except BackendError as error:
            # The call shows it: it has the same backend.
            log.info("a client's answer did not reach its backend: %s", error)
        except Exception:
            log.exception("a client's answer could not be passed on")

    def _over(self, ident: bytes) -> None:
        self._open.pop(ident, None)
        if not self._open:
            self._exchange.wait_until(asyncio.get_running_loop().time() + self._timeout_s)


def may_be_asked(ask: Ask, method: str) -> bool:
    """Whether the client said that it can be asked this."""
    capability = CAPABILITY_OF.get(method)
    declared = ask.session.declared if ask.session is not None else declared_in(ask.capabilities)
    return capability in declared


def tell_of(ask: Ask, session: Session) -> Tell:
    """How a client is told something in the middle of a call."""
    # A client that takes no stream for its call may have the GET stream open.
    return ask.answer.event if ask.answer.streams else session.tell


def undeclared(method: str) -> JsonRpcError:
    """What a backend is told that asks a client what it may not be asked."""
    if method in CAPABILITY_OF:
        return rpc_error(jsonrpc.METHOD_NOT_FOUND, f"{method}: the client has not declared '{CAPABILITY_OF[method]}'")
    return rpc_error(jsonrpc.METHOD_NOT_FOUND, f"{method} is not available through this gateway")
