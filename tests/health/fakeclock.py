"""An event loop whose time runs ahead to the next timer, and the clock that tells its time."""

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

from vmcp.health.clock import Clock

T = TypeVar("T")

EPOCH = 1_800_000_000.0


class FastForwardLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: with no callback ready, the next timer is due now. Not for sockets or threads."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready:
            # The loop skips cancelled timers too, but after this; it would then really wait for the next one.
            while self._scheduled and self._scheduled[0].cancelled():
                heapq.heappop(self._scheduled)._scheduled = False
                self._timer_cancelled_count -= 1
            if not self._scheduled:
                raise RuntimeError("everything waits and nothing will happen")
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


class FakeClock(Clock):
    """The time of the loop that runs, or ran last; the wall clock may be off by `skew_s`."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.skew_s = skew_s
        self.last = 1000.0

    def monotonic(self) -> float:
        loop = asyncio._get_running_loop()
        if loop is not None:
            self.last = loop.time()
        return self.last

    def wall(self) -> float:
        return EPOCH + self.monotonic() + self.skew_s

    async def sleep_until(self, when: float, wake: asyncio.Event) -> None:
        # Not by a delay: what a float cannot add to the time would never pass.
        timer = asyncio.get_running_loop().call_at(when, wake.set)
        try:
            await wake.wait()
        finally:
            timer.cancel()


def stand_still(seconds: float) -> None:
    """What SIGSTOP does: time passes and nothing runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FastForwardLoop)
    loop.now += seconds


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario in fast-forward."""
    with asyncio.Runner(loop_factory=FastForwardLoop) as runner:
        return runner.run(scenario)
