"""The keyed queue: each key at most once, never two reconciles of one key at a time, backoff for what failed.

The shape is client-go's rate-limiting work queue: a key added while its reconcile runs is run again afterwards, a key
that fails waits 0.2 s, then twice as long each time up to a minute, and starts afresh once it succeeded.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from vmcp.kube.client import KubeError

FIRST_BACKOFF_S = 0.2
LAST_BACKOFF_S = 60.0

K = TypeVar("K")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """Keys that wait for a worker now, and attempts since the start."""

    depth: int
    succeeded: int
    failed: int


class KeyedQueue(Generic[K]):
    """Holds keys, bounded by the number of distinct objects; confined to one loop."""

    def __init__(self, *, workers: int = 8, attempt_timeout_s: float = 60.0) -> None:
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._delayed: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._arrived = asyncio.Event()
        self._succeeded = 0
        self._failed = 0
        self._workers = workers
        self._attempt_timeout_s = attempt_timeout_s

    def __len__(self) -> int:
        return len(self._ready) + len(self._delayed)

    def statistics(self) -> QueueStatistics:
        """Counts since the start, and what waits now."""
        return QueueStatistics(len(self._ready) + len(self._again), self._succeeded, self._failed)

    def add(self, key: K) -> None:
        """Run this key as soon as a worker is free; a wait for backoff ends."""
        self._cancel_delay(key)
        if key in self._running:
            self._again.add(key)
        else:
            self._ready[key] = None
            self._arrived.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Run this key after a time, unless it is run earlier for another cause."""
        if key in self._ready or key in self._again:
            return
        self._cancel_delay(key)
        self._delayed[key] = asyncio.get_running_loop().call_later(delay_s, self.add, key)

    async def run(self, reconcile: Callable[[K], Awaitable[float | None]]) -> None:
        """Work until cancelled. `reconcile` returns the seconds after which it wants to run again, or None."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work(reconcile))

    async def _work(self, reconcile: Callable[[K], Awaitable[float | None]]) -> None:
        while True:
            while not self._ready:
                self._arrived.clear()
                await self._arrived.wait()
            key, _ = self._ready.popitem(last=False)
            self._running.add(key)
            try:
                await self._attempt(key, reconcile)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _attempt(self, key: K, reconcile: Callable[[K], Awaitable[float | None]]) -> None:
        try:
            async with asyncio.timeout(self._attempt_timeout_s):
                delay_s = await reconcile(key)
        except Exception as error:
            self._failed += 1
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay_s = min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures - 1, 16))
            expected = isinstance(error, KubeError | TimeoutError)
            said = str(error) or type(error).__name__
            fault = None if expected else error
            log.warning("reconcile failed, again in %.1f s: %s: %s", delay_s, key, said, exc_info=fault)
        else:
            self._succeeded += 1
            self._failures.pop(key, None)
        if delay_s is not None:
            self.add_after(key, delay_s)

    def _cancel_delay(self, key: K) -> None:
        if (handle := self._delayed.pop(key, None)) is not None:
            handle.cancel()
