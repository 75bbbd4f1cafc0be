"""What is to be written to the server's stdin, in order, by one writer: no line is ever cut short by a caller."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
"""A server that does not read makes its callers wait, with as many bytes again, and then refuses them."""
MOST_BYTES: Final = 2 * MOST_WAITING_BYTES
"""Beyond, even answers to the server are dropped: it asks and asks, and does not read."""


class Outbox:
    """Lines that wait."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = self._held = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, line: bytes) -> None:
        """Write this line, without its line break, as soon as its turn comes; dropped where far too much waits."""
        if self._bytes > MOST_BYTES:
            return
        self._lines.append(line)
        self._bytes += len(line)
        self._news.set()
        if self._bytes > MOST_WAITING_BYTES:
            self._room.clear()

    @property
    def full(self) -> bool:
        """There is no room."""
        return not self._room.is_set()

    async def room(self, size: int) -> bool:
        """Wait until there is room for a request of so many bytes; False where too many bytes wait already.

        Short messages that belong to a request need no room.
        """
        if not self.full:
            return True
        if self._held + size > MOST_WAITING_BYTES:
            return False
        self._held += size
        try:
            await self._room.wait()
        finally:
            self._held -= size
        return True

    def close(self) -> None:
        """Nobody writes any more: whoever waits goes on."""
        self._room.set()

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write until cancelled, or until `write` raises."""
        while True:
            while self._lines:
                line = self._lines.popleft()
                await write(line + b"\n")
                self._bytes -= len(line)
                if self._bytes <= MOST_WAITING_BYTES:
                    self._room.set()
            self._news.clear()
            await self._news.wait()
