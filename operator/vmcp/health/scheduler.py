"""Runs every key's work at its own due time: a heap of due times, two limits, no tick.

The idea: due times live in one heap with lazy deletion (an entry's newest heap item is the valid one). One
loop starts what is due, earliest first, and sleeps until the next due time. What cannot start because all
slots are taken stays in the heap. What cannot start because its host is busy is set aside, so that it holds
up no other host, and returns to the heap with its old due time when a slot at the host is free. Earliest due
first is also what makes it fair: under overload everyone grows late alike, and nobody starves.

A process that stood still (SIGSTOP, a blocked loop, a starved machine) wakes to find much overdue. The loop
notices that it woke late, and moves what fell due meanwhile by just that much: it runs at the pace at which
it would have run, beginning now.
"""

import asyncio
import heapq
import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from vmcp.health.clock import Clock

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

HEARTBEAT_S = 1.0
"""The loop turns at least this often, so that its lag can be measured."""

TURN_GAP_S = 0.005
"""What falls due within this after a turn waits for one turn together: to wake up costs as much as to check."""

STALL_S = 1.0
"""The loop waking later than this is a stall."""

AFTER_FAULT_S = 30.0
"""When work raises, which is a fault of ours, its next turn comes after this."""

LATENESS_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the lateness histogram; one more bucket holds the rest."""

Work = Callable[[Key, float], Awaitable[float]]
"""Does a key's work, given when it was due; returns when it is due next. Monotonic seconds, both."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the scheduler has done, and how late. Lateness is start minus due time.

    Attributes:
        in_flight: keys whose work is running.
        held: keys that are due and wait for a slot at their host.
        overdue_s: how late the earliest one that waits for any slot is now; 0 when none waits.
        stalls: how often the process stood still for over `STALL_S`.
        last_turn: when the loop last turned, monotonic seconds; None before the first turn.
        lateness_counts: starts per bucket of `LATENESS_BOUNDS_S`, and one more.
    """

    keys: int
    in_flight: int
    held: int
    started: int
    overdue_s: float
    stalls: int
    last_turn: float | None
    lateness_sum_s: float
    lateness_max_s: float
    lateness_counts: tuple[int, ...]

    def lateness(self, quantile: float) -> float:
        """An upper bound of the lateness of this share of all starts, in seconds."""
        rank, seen = quantile * self.started, 0
        for bound, count in zip(LATENESS_BOUNDS_S, self.lateness_counts, strict=False):
            seen += count
            if seen >= rank:
                return min(bound, self.lateness_max_s)
        return self.lateness_max_s


class _Entry(Generic[Key]):
    __slots__ = ("again", "due", "host", "key", "removed", "task", "ticket")

    def __init__(self, key: Key, host: str, due: float) -> None:
        self.key = key
        self.host = host
        self.due = due
        self.ticket = 0  # of its valid heap item; 0 = not in the heap
        self.task: asyncio.Task[None] | None = None
        self.again: float | None = None  # a due time asked for while the work was running
        self.removed = False


class Scheduler(Generic[Key]):
    """Owns the loop and the tasks of all work; see the module's text for the idea."""

    def __init__(self, work: Work[Key], *, clock: Clock, concurrency: int, per_host: int) -> None:
        self._work = work
        self._clock = clock
        self._concurrency = concurrency
        self._per_host = per_host
        self._entries: dict[Key, _Entry[Key]] = {}
        self._heap: list[tuple[float, int, _Entry[Key]]] = []
        self._ticket = 0
        self._wake = asyncio.Event()
        self._running: set[_Entry[Key]] = set()
        self._busy: dict[str, int] = {}
        self._held: dict[str, list[tuple[float, int, _Entry[Key]]]] = {}
        self._held_count = 0
        self._started = 0
        self._stalls = 0
        self._last_turn: float | None = None
        self._until = 0.0  # when the loop turns next, unless it is woken
        self._late_sum_s = 0.0
        self._late_max_s = 0.0
        self._late_counts = [0] * (len(LATENESS_BOUNDS_S) + 1)

    def add(self, key: Key, host: str, due: float) -> None:
        """Take a key in; one that is known is replaced, and its running work cancelled."""
        self.remove(key)
        entry = self._entries[key] = _Entry(key, host, due)
        self._push(entry, due)

    def remove(self, key: Key) -> None:
        """Let a key go. Its running work is cancelled, and what it returns is ignored."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        entry.removed = True
        entry.ticket = 0
        if entry.task is not None:
            entry.task.cancel()
        else:
            self._release(entry.host)

    def reschedule(self, key: Key, due: float) -> None:
        """Give a key another due time. Where its work is running, it runs once more then, at the latest."""
        entry = self._entries.get(key)
        if entry is None:
            return
        if entry.task is None:
            self._push(entry, due)
            self._release(entry.host)
        else:
            entry.again = due if entry.again is None else min(entry.again, due)

    def due(self, key: Key) -> float | None:
        """When the key is due; None where it is unknown or its work is running."""
        entry = self._entries.get(key)
        return None if entry is None or entry.task is not None else entry.due

    def __len__(self) -> int:
        return len(self._entries)

    def statistics(self) -> Statistics:
        """Counts since the start, and what is waiting now."""
        earliest = self._next_due()
        return Statistics(
            keys=len(self._entries),
            in_flight=len(self._running),
            held=self._held_count,
            started=self._started,
            overdue_s=0.0 if earliest is None else max(0.0, self._clock.monotonic() - earliest),
            stalls=self._stalls,
            last_turn=self._last_turn,
            lateness_sum_s=self._late_sum_s,
            lateness_max_s=self._late_max_s,
            lateness_counts=tuple(self._late_counts),
        )

    async def run(self) -> None:
        """Run until cancelled; all work under way is cancelled with it."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                until = self._until = self._turn(loop)
                await self._clock.sleep_until(until, self._wake)
                self._wake.clear()
                late = self._clock.monotonic() - until
                if late > STALL_S:
                    self._catch_up(late)
        finally:
            await self._end()

    async def _end(self) -> None:
        # Not a TaskGroup, which costs as much for a task as all else that is done here for a check.
        while tasks := [entry.task for entry in self._running if entry.task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> float:
        """Start all that is due and can start; returns when to turn next."""
        now = self._last_turn = self._clock.monotonic()
        while len(self._running) < self._concurrency:
            due = self._next_due()
            if due is None:
                break
            if due > now:
                return min(max(due, now + TURN_GAP_S), now + HEARTBEAT_S)
            item = heapq.heappop(self._heap)
            entry = item[2]
            if self._busy.get(entry.host, 0) >= self._per_host:
                heapq.heappush(self._held.setdefault(entry.host, []), item)
                self._held_count += 1
            else:
                self._start(entry, now, loop)
        return now + HEARTBEAT_S

    def _next_due(self) -> float | None:
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].ticket:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _start(self, entry: _Entry[Key], now: float, loop: asyncio.AbstractEventLoop) -> None:
        late = now - entry.due
        self._started += 1
        self._late_sum_s += late
        self._late_max_s = max(self._late_max_s, late)
        self._late_counts[bisect_left(LATENESS_BOUNDS_S, late)] += 1
        entry.ticket = 0
        self._running.add(entry)
        self._busy[entry.host] = self._busy.get(entry.host, 0) + 1
        entry.task = loop.create_task(self._do(entry))
        # A task cancelled before its first step never enters `_do`, so its slot is given back here.
        entry.task.add_done_callback(lambda _: self._ended(entry))

    async def _do(self, entry: _Entry[Key]) -> None:
        try:
            following = await self._work(entry.key, entry.due)
        except asyncio.CancelledError:
            # The next due time of a live entry, should anyone but `remove` or the group cancel its work.
            entry.due = self._clock.monotonic() + AFTER_FAULT_S
            raise
        except Exception:
            log.exception("a fault in the check of %s; the next one comes in %.0f s", entry.key, AFTER_FAULT_S)
            following = self._clock.monotonic() + AFTER_FAULT_S
        entry.due = following

    def _ended(self, entry: _Entry[Key]) -> None:
        entry.task = None
        if len(self._running) >= self._concurrency:
            self._wake.set()  # what is due may be waiting for just this slot
        self._running.discard(entry)
        self._leave_host(entry.host)
        if entry.removed:
            return
        again, entry.again = entry.again, None
        self._push(entry, entry.due if again is None else min(entry.due, again))

    def _leave_host(self, host: str) -> None:
        left = self._busy[host] - 1
        if left:
            self._busy[host] = left
        else:
            del self._busy[host]
        self._release(host)

    def _release(self, host: str) -> None:
        """Where a slot at the host is free, return the earliest that is held for it to the heap.

        Also when one that was returned before did not take its slot, since it was removed or put off.
        """
        held = self._held.get(host)
        if held is None or self._busy.get(host, 0) >= self._per_host:
            return
        while held:
            due, ticket, entry = heapq.heappop(held)
            self._held_count -= 1
            if ticket == entry.ticket:
                self._push(entry, due)
                break
        if not held:
            del self._held[host]

    def _push(self, entry: _Entry[Key], due: float) -> None:
        self._ticket += 1
        entry.due = due
        entry.ticket = self._ticket
        heapq.heappush(self._heap, (due, self._ticket, entry))
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [item for item in self._heap if item[1] == item[2].ticket]
            heapq.heapify(self._heap)
        if max(due, (self._last_turn or 0.0) + TURN_GAP_S) < self._until:
            self._wake.set()

    def _catch_up(self, late: float) -> None:
        """After a stall: what fell due meanwhile is due that much later, so it keeps its distances."""
        self._stalls += 1
        now = self._clock.monotonic()
        log.warning("stood still for %.1f s; the checks that fell due meanwhile are spread", late)
        items = [*self._heap, *(item for held in self._held.values() for item in held)]
        overdue = [entry for due, ticket, entry in items if ticket == entry.ticket and due <= now]
        self._held.clear()
        self._held_count = 0
        for entry in overdue:
            self._push(entry, entry.due + late)
