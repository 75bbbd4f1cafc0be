"""What the server writes to its stderr, in our log: a line each, short ones, and not too many."""

import logging
import time
from collections.abc import Callable
from typing import Final

from vmcp.stdio.lines import Lines, TooLong

log = logging.getLogger(__name__)

MOST_CHARS: Final = 2000
LINES_PER_S: Final = 50
BURST_LINES: Final = 500


class Stderr:
    """Takes the stream in chunks."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._lines = Lines(limit=MOST_CHARS)
        self._now = now
        self._left = float(BURST_LINES)
        self._at = now()
        self._dropped = 0

    def feed(self, chunk: bytes) -> None:
        """Log the lines that end in this chunk."""
        for line in self._lines.feed(chunk):
            if isinstance(line, TooLong):
                self._log(line.head + b" ...")
            elif line.strip():
                self._log(line)

    def _log(self, line: bytes) -> None:
        now = self._now()
        self._left = min(BURST_LINES, self._left + (now - self._at) * LINES_PER_S)
        self._at = now
        if self._left < 1:
            self._dropped += 1
            return
        self._left -= 1
        if self._dropped:
            log.warning("the server writes too much: %d lines were left out", self._dropped)
            self._dropped = 0
        log.info("%s", printable(line))


def printable(line: bytes) -> str:
    """The line without anything that a terminal or a log would take for more than text."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    return "".join(each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in text)
