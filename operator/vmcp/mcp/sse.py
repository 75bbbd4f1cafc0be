"""Server-sent events, parsed as they come, at whatever borders the bytes are cut."""

import re
from dataclasses import dataclass
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event with data. Events without data (keep-alives, prime events) are not reported."""

    data: bytes
    type: str = "message"
    id: str | None = None


class EventTooLong(ValueError):
    """One event is larger than the bound."""


class EventParser:
    """Feed it bytes, get events. Holds at most one event of at most `limit` bytes.

    Attributes:
        last_id: id of the last event, of those without data too; None before one had an id.
        retry_s: how long the server wants a client to wait before it reconnects; None = it has not said.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._after_cr = False
        self._started = False
        self._data: list[bytes] = []
        self._size = 0
        self._type = ""
        self._id: str | None = None
        self.last_id: str | None = None
        self.retry_s: float | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            EventTooLong: the stream cannot be read on.
        """
        buffer = self._buffer
        buffer += data
        if not self._started:
            if _BOM.startswith(bytes(buffer[:3])) and len(buffer) < 3:
                return []
            if buffer.startswith(_BOM):
                del buffer[:3]
            self._started = True
        if self._after_cr and buffer:
            # the CR has ended its line already; an LF right after it belongs to it
            if buffer.startswith(b"\n"):
                del buffer[:1]
            self._after_cr = False
        events: list[Event] = []
        begin = 0
        while found := _LINE_END.search(buffer, max(begin, self._scanned)):
            self._line(bytes(buffer[begin : found.start()]), events)
            begin = found.end()
            if begin == len(buffer):
                self._after_cr = found.group() == b"\r"
        del buffer[:begin]
        self._scanned = len(buffer)
        if self._size + len(buffer) > self._limit:
            raise EventTooLong(f"an event is longer than {self._limit} bytes")
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            data = b"\n".join(self._data)
            if data:
                events.append(Event(data, self._type or "message", self._id))
            self._data, self._size, self._type = [], 0, ""
            self.last_id = self._id
            return
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > self._limit:
                raise EventTooLong(f"an event is longer than {self._limit} bytes")
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_s = int(value) / 1000
