"""Requests to one Legacy client: what backends ask of the person or program behind it, until it answers."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from vmcp.gateway.answer import rpc_error
from vmcp.mcp import jsonrpc
from vmcp.mcp.jsonrpc import JsonRpcError, Message

ANSWER_S: Final = 600.0
"""A person may have to read, think and type."""
MAX_OPEN: Final = 100
_WITHDRAW_S: Final = 1.0

CAPABILITY_OF: Final = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
    "tasks/get": "tasks",
    "tasks/result": "tasks",
    "tasks/cancel": "tasks",
    "tasks/list": "tasks",
}
"""What a client must have declared to be asked this."""

Tell = Callable[[bytes], Awaitable[None]]
"""Sends a message to the client."""


class Questions:
    """The open ones of one client. Ids are ours: those of several backends would meet.

    Args:
        first: the first id; another replica that holds the session has others.
    """

    __slots__ = ("_ids", "_open")

    def __init__(self, first: int = 1) -> None:
        self._ids = itertools.count(first)
        self._open: dict[bytes, asyncio.Future[Message]] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, tell: Tell, method: str, params: bytes) -> Message:
        """The client's response; an error of ours where it gives none within `ANSWER_S` seconds.

        Cancelled, it withdraws the question.
        """
        if len(self._open) >= MAX_OPEN:
            return _nothing(rpc_error(jsonrpc.INTERNAL_ERROR, f"the client has {MAX_OPEN} unanswered requests"))
        ident = b"%d" % next(self._ids)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._open[ident] = future
        try:
            async with asyncio.timeout(ANSWER_S):
                await tell(jsonrpc.encode_request(ident, method, params))
                return await future
        except TimeoutError:
            await _withdraw(tell, ident)
            return _nothing(rpc_error(jsonrpc.INTERNAL_ERROR, f"the client did not answer within {ANSWER_S:g} s"))
        except asyncio.CancelledError:
            await _withdraw(tell, ident)
            raise
        finally:
            self._open.pop(ident, None)

    def answered(self, response: Message) -> bool:
        """The client responds; False = nobody here waits for that."""
        future = self._open.get(response.id or b"")
        if future is not None and not future.done():
            future.set_result(response)
        return future is not None

    def close(self) -> None:
        """The client has left: nothing will be answered."""
        for future in self._open.values():
            if not future.done():
                future.set_result(_nothing(rpc_error(jsonrpc.INTERNAL_ERROR, "the client left")))


def _nothing(error: JsonRpcError) -> Message:
    return Message(error=error)


async def _withdraw(tell: Tell, ident: bytes) -> None:
    try:
        async with asyncio.timeout(_WITHDRAW_S):
            await tell(jsonrpc.encode_notification("notifications/cancelled", b'{"requestId":' + ident + b"}"))
    except TimeoutError:
        pass
