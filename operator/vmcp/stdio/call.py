"""One request on the stream that all clients share."""

import asyncio
from collections import deque
from typing import Final

from vmcp.mcp.exchange import Deadline
from vmcp.mcp.jsonrpc import Message

MOST_TOLD: Final = 1000
MOST_TOLD_BYTES: Final = 4 * 1024 * 1024
"""Kept for a client that reads slowly; what comes beyond is dropped."""


class ServerLost(Exception):
    """There is no answer, and there will be none: the server is gone. The message is a sentence for a person."""


class NotSent(Exception):
    """The server has not seen the request: repeating it is safe. The message is a sentence for a person."""


class Call:
    """What comes back for one request: messages before the response, then the response.

    Attributes:
        ident: the request's id on the stream, as JSON.
        token: the caller's own progress token, None = it wants no progress.
        deadline: by when the response must be there.
    """

    __slots__ = ("_bytes", "_end", "_news", "_told", "deadline", "ident", "token")

    def __init__(self, ident: bytes, token: bytes | None, deadline: Deadline) -> None:
        self.ident = ident
        self.token = token
        self.deadline = deadline
        self._told: deque[bytes] = deque()
        self._bytes = 0
        self._end: Message | ServerLost | None = None
        self._news = asyncio.Event()

    @property
    def over(self) -> bool:
        """The response is there, or will never be."""
        return self._end is not None

    def tell(self, message: bytes) -> None:
        """Something for the caller, before the response."""
        if not self.over and len(self._told) < MOST_TOLD and self._bytes < MOST_TOLD_BYTES:
            self._told.append(message)
            self._bytes += len(message)
            self._news.set()

    def end(self, end: Message | ServerLost) -> None:
        """The response, or why there is none. Only the first one counts."""
        if self._end is None:
            self._end = end
            self._news.set()

    async def next(self) -> bytes | None:
        """The next message before the response; None = that was all.

        Raises:
            TimeoutError: the deadline has passed.
        """
        try:
            async with self.deadline.timeout():
                while not self._told and self._end is None:
                    self._news.clear()
                    await self._news.wait()
        finally:
            self.deadline.passed()
        if not self._told:
            return None
        message = self._told.popleft()
        self._bytes -= len(message)
        return message

    def response(self) -> Message:
        """The response, after `next` has returned None. Raises ServerLost."""
        assert self._end is not None
        if isinstance(self._end, ServerLost):
            raise self._end
        return self._end
