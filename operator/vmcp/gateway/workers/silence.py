"""How long each worker has given no sign of life. Pure; time is an argument."""

from typing import Final

LOOK_S: Final = 1.0
"""Time between two looks, and the most that one of them counts: who was stopped himself, or put to sleep with the whole
machine, does not know what the others did meanwhile.
"""


class Silence:
    """Of all workers, in seconds that the watcher was awake.

    Args:
        longest_s: a worker that is silent for longer works no more.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._silent_s: dict[int, float] = {}
        self._looked_at: float | None = None

    def heard(self, worker: int) -> None:
        """It began, or gave a sign."""
        self._silent_s[worker] = 0.0

    def forget(self, worker: int) -> None:
        """It ended."""
        self._silent_s.pop(worker, None)

    def look(self, now: float) -> list[int]:
        """Those that are silent for too long by now, a monotonic time. Each is named once in that time."""
        passed_s = 0.0 if self._looked_at is None else min(now - self._looked_at, LOOK_S)
        self._looked_at = now
        for worker in self._silent_s:
            self._silent_s[worker] += passed_s
        gone = [worker for worker, silent_s in self._silent_s.items() if silent_s > self._longest_s]
        for worker in gone:
            self._silent_s[worker] = 0.0
        return gone
