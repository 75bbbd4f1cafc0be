"""The seam for time: one monotonic clock for due times, one wall clock for what people and `.status` read."""

import asyncio
import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """Tells time and waits. Tests pass one that runs ahead."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds that never jump; comparable only within this process."""

    @abstractmethod
    def wall(self) -> float:
        """Seconds since the epoch; may jump."""

    async def sleep_until(self, when: float, wake: asyncio.Event) -> None:
        """Return at `when` (monotonic seconds) or as soon as `wake` is set, whichever comes first."""
        timer = asyncio.get_running_loop().call_later(max(0.0, when - self.monotonic()), wake.set)
        try:
            await wake.wait()
        finally:
            timer.cancel()


class SystemClock(Clock):
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds since some moment before the process began."""
        return time.monotonic()

    def wall(self) -> float:
        """The machine's own idea of the time."""
        return time.time()
