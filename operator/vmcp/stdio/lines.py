"""Chunks of a stream, taken apart into lines of bounded length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KEPT_BYTES: Final = 256
"""Of a line that is too long, at its beginning and at its end."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that was thrown away."""

    head: bytes
    tail: bytes


class Lines:
    """Collects chunks. What has no line break yet waits for the next chunk; it is never longer than `limit` bytes."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._length = 0
        self._head = b""

    def feed(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """The lines that end in this chunk, without their line breaks."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._add(end)
            yield self._take()
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        self._length += len(piece)
        if self._length > self._limit:
            line = b"".join(self._pieces)
            self._head = self._head or line[:KEPT_BYTES]
            self._pieces = [line[-KEPT_BYTES:]]

    def _take(self) -> bytes | TooLong:
        line, head = b"".join(self._pieces), self._head
        self._pieces, self._length, self._head = [], 0, b""
        return TooLong(head, line[-KEPT_BYTES:]) if head else line
