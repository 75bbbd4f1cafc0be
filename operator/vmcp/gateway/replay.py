"""What a Legacy session's streams have carried lately, so that a client that lost one goes on by Last-Event-ID.

Bounded per session and for the process. What had to be dropped makes the stream one that cannot be resumed: it is never
repeated with a gap.
"""

import asyncio
import itertools
from collections import OrderedDict, deque
from typing import Final

MAX_SESSION_BYTES: Final = 1024 * 1024
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_CHANNELS: Final = 64
NUMBERS: Final = 10**9
"""Channels are numbered from this times the session's life on; the first is the GET stream without Last-Event-ID."""


def one_line(message: bytes) -> bytes:
    """The JSON message without line breaks: there are none inside of its strings, and those outside become spaces."""
    if b"\n" in message or b"\r" in message:
        return message.replace(b"\r", b" ").replace(b"\n", b" ")
    return message


class Budget:
    """Bytes that all sessions together may keep."""

    __slots__ = ("left",)

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self.left = limit


class Channel:
    """One stream of a session, whichever connection carries it right now.

    Attributes:
        ended: nothing will be added.
    """

    __slots__ = ("_events", "_following", "_kept", "_news", "_replay", "ended", "number")

    def __init__(self, replay: "Replay", number: int, *, kept: bool) -> None:
        self.number = number
        self.ended = False
        self._replay = replay
        self._kept = kept
        self._events: deque[tuple[int, bytes]] = deque()
        self._following = 1
        self._news = asyncio.Event()

    def prime(self) -> bytes:
        """An event without data before all others, for a client that loses the stream at once."""
        return b"id: %d-0\ndata: \n\n" % self.number

    def add(self, message: bytes) -> bytes:
        """Keep a message; returns it as the event to send."""
        position = self._following
        self._following += 1
        event = b"id: %d-%d\nevent: message\ndata: %b\n\n" % (self.number, position, one_line(message))
        if self._kept and not self.ended and self._replay.make_room(len(event)):
            self._events.append((position, event))
        else:
            self.forget()
        self._news.set()
        return event

    def end(self) -> None:
        """That was all."""
        self.ended = True
        self._news.set()

    def after(self, position: int) -> list[bytes] | None:
        """The events after that one; None where one of them is no longer kept."""
        missing = self._following - 1 - position
        if missing < 0 or missing > len(self._events):
            return None
        return [event for at, event in self._events if at > position]

    @property
    def last(self) -> int:
        """Position of the last event."""
        return self._following - 1

    async def news(self, timeout: float) -> None:
        """Return when something was added since the last call, or after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    def drop_oldest(self) -> int:
        """Forget one event; returns its bytes, 0 where there is none."""
        return len(self._events.popleft()[1]) if self._events else 0

    def forget(self) -> None:
        """Forget all events."""
        self._replay.give_back(sum(len(event) for _, event in self._events))
        self._events.clear()


class Replay:
    """The streams of one session."""

    __slots__ = ("_budget", "_bytes", "_channels", "_numbers", "standalone")

    def __init__(self, budget: Budget, *, life: int = 0) -> None:
        self._budget = budget
        self._bytes = 0
        self._numbers = itertools.count(life * NUMBERS)
        self._channels: OrderedDict[int, Channel] = OrderedDict()
        self.standalone = self.open()

    def open(self) -> Channel:
        """A new stream; the oldest that has ended makes room."""
        if len(self._channels) >= MAX_CHANNELS:
            oldest = next((each for each in self._channels.values() if each.ended), None)
            if oldest is not None:
                oldest.forget()
                del self._channels[oldest.number]
        kept = len(self._channels) < MAX_CHANNELS
        channel = Channel(self, next(self._numbers), kept=kept)
        if kept:
            self._channels[channel.number] = channel
        return channel

    def find(self, event_id: str) -> tuple[Channel, int] | None:
        """The stream of an event, and its position; None where it is not kept."""
        number, _, position = event_id.partition("-")
        if not (number.isascii() and number.isdigit() and position.isascii() and position.isdigit()):
            return None
        if len(number) > 18 or len(position) > 18:
            return None
        channel = self._channels.get(int(number))
        return None if channel is None else (channel, int(position))

    @staticmethod
    def standalone_elsewhere(event_id: str) -> bool:
        """Whether this is the id of an event of a GET stream, of whichever life of the session."""
        number, _, position = event_id.partition("-")
        digits = number.isascii() and number.isdigit() and position.isascii() and position.isdigit()
        return digits and len(number) <= 18 and int(number) % NUMBERS == 0

    def make_room(self, size: int) -> bool:
        """Whether an event of this size may be kept; older ones of this session make room."""
        if size > MAX_SESSION_BYTES:
            return False
        for channel in self._channels.values():
            while self._bytes + size > MAX_SESSION_BYTES and (freed := channel.drop_oldest()):
                self.give_back(freed)
        if size > self._budget.left:
            return False
        self._bytes += size
        self._budget.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Bytes that are kept no longer."""
        self._bytes -= size
        self._budget.left += size

    def close(self) -> None:
        """The session has ended."""
        for channel in self._channels.values():
            channel.forget()
            channel.end()
        self._channels.clear()
