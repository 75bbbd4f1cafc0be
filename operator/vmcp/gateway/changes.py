"""Change notifications: which lists changed, told to every listening client, coalesced per listener.

A listener that is slow or not connected holds one small set, never a queue: however often a list changed, it is told
once.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from enum import StrEnum

MAX_MESSAGES = 256
"""Kept for a client that is slow or has no stream open."""


class Changed(StrEnum):
    """A list that clients are told about; the value is the notification's method."""

    TOOLS = "notifications/tools/list_changed"
    RESOURCES = "notifications/resources/list_changed"
    PROMPTS = "notifications/prompts/list_changed"


class Listener:
    """One client's view of the changes. Waited on by one stream at a time."""

    __slots__ = ("_closed", "_messages", "_pending", "_wake", "wanted")

    def __init__(self, wanted: Iterable[Changed] = tuple(Changed)) -> None:
        self.wanted = frozenset(wanted)
        self._pending: set[Changed] = set()
        self._messages: deque[bytes] = deque(maxlen=MAX_MESSAGES)
        self._wake = asyncio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        """The gateway told this listener to end."""
        return self._closed

    def tell(self, changes: Iterable[Changed]) -> None:
        """Note the changes that the client wants to hear of."""
        wanted = self.wanted.intersection(changes)
        if wanted:
            self._pending |= wanted
            self._wake.set()

    def post(self, message: bytes) -> None:
        """A message for this client alone. Where too many wait, the oldest is lost."""
        self._messages.append(message)
        self._wake.set()

    def messages(self) -> list[bytes]:
        """The messages posted since the last call."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def heir(self) -> "Listener":
        """A listener that begins with what this one has not told yet."""
        heir = Listener(self.wanted)
        heir.tell(self._pending)
        for message in self._messages:
            heir.post(message)
        return heir

    def close(self) -> None:
        """End the stream that waits, now or when it next waits."""
        self._closed = True
        self._wake.set()

    async def next(self, timeout: float) -> tuple[Changed, ...]:
        """The changes since the last call, sorted; empty after `timeout` seconds without one, once closed, and when
        there are only `messages`.
        """
        if not self._pending and not self._messages and not self._closed:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return ()
        self._wake.clear()
        changes = tuple(sorted(self._pending))
        self._pending.clear()
        return changes


class Changes:
    """Everybody who listens."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._closed = False

    def add(self, listener: Listener) -> None:
        """Tell this listener from now on; once closed, it is ended at once."""
        self._listeners.add(listener)
        if self._closed:
            listener.close()

    def remove(self, listener: Listener) -> None:
        """Forget the listener; unknown ones are no error."""
        self._listeners.discard(listener)

    def publish(self, changes: Iterable[Changed]) -> None:
        """Tell all listeners. Synchronous and cheap: it sets events."""
        changed = tuple(changes)
        if changed:
            for listener in self._listeners:
                listener.tell(changed)

    def interrupt(self) -> None:
        """End every stream that is open now."""
        for listener in tuple(self._listeners):
            listener.close()

    def close(self) -> None:
        """End every stream, now and later (the gateway stops)."""
        self._closed = True
        self.interrupt()
