"""The access log: a JSON line on stdout for a share of the requests. No arguments, results, headers or sessions."""

import random
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

from vmcp.gateway.ask import Ask

MAX_NAME_CHARS: Final = 128

_TRACE_ID: Final = slice(3, 35)


def to_stdout(line: str) -> None:
    """Write a line where container runtimes collect it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class AccessLog:
    """Writes about a share of the requests, picked by chance so that every kind is seen.

    Args:
        share: 0 to 1.
    """

    def __init__(
        self,
        share: float,
        *,
        write: Callable[[str], None] = to_stdout,
        chance: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._share = share
        self._write = write
        self._chance = chance
        self._now = now

    def record(self, ask: Ask, backend: str, outcome: str, seconds: float) -> None:
        """One request was answered, after `seconds` at the backend (0 = it was not asked)."""
        if self._chance() >= self._share:
            return
        line: dict[str, object] = {
            "time": round(self._now(), 3),
            "method": ask.method,
            "era": ask.era.value,
            "outcome": outcome,
            "ms": round(seconds * 1000, 3),
        }
        if backend:
            line["backend"] = backend
        # A URI may carry what is nobody's business; a name does not.
        name = ask.text("name")
        if name is not None:
            line["name"] = name[:MAX_NAME_CHARS]
        for header, value in ask.passed:
            if header == "traceparent":
                line["trace"] = value[_TRACE_ID]
        self._write(msgspec.json.encode(line).decode())
