"""The scheduler against a simple model: whatever happens, no check is lost, doubled, early, overtaken or starved."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.health.fakeclock import FakeClock, FastForwardLoop, stand_still

from vmcp.health.scheduler import AFTER_FAULT_S, TURN_GAP_S, Scheduler

LOG = logging.getLogger("vmcp.health.scheduler")
"""Silent meanwhile: work breaks and the loop stands still by the hundred."""
HOSTS = "ab"
KEYS = [f"{host}/{number}" for host in HOSTS for number in range(4)]
EVERY_S = 30.0
QUICK_S = 0.01
A_MOMENT_S = TURN_GAP_S + 1e-6

SETTLED_AFTER = 10
"""Turns of the event loop after which everything that follows from the end of some work has happened."""

keys = st.sampled_from(KEYS)
delays = st.one_of(st.just(0.0), st.floats(0.001, 40.0))
moments = st.one_of(st.none(), st.integers(0, 4))
"""Now, or so many turns of the event loop after some work ended: between its end and what follows from it."""


@dataclass(eq=False)
class Turn:
    """What the model knows of one key, from its `add` to its `remove`.

    Attributes:
        due: its next start is not before this; while it runs, of the start that it runs for.
        stalled_s: a stall may have moved it by so much.
        again: asked for while it runs, or just before its first step.
        ended_at: of its last work.
    """

    due: float
    stalled_s: float = 0.0
    running: bool = False
    again: float | None = None
    ended_at: float | None = None

    def waits_until(self, due: float) -> None:
        self.due, self.stalled_s = due, 0.0


def host_of(key: str) -> str:
    return key.partition("/")[0]


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        LOG.disabled = True
        self.loop = FastForwardLoop()
        self.model: dict[str, Turn] = {}
        self.takes: dict[str, float] = {}
        self.faulty: set[str] = set()
        self.bodies: Counter[str] = Counter()
        """Work under way by key, of removed keys too."""
        self.starts: Counter[str] = Counter()
        self.an_end = asyncio.Event()
        self.last_end: dict[str, float] = {}
        """By host."""
        self.problems: list[str] = []
        """An assertion in the work would be taken for a fault of the work."""

    @initialize(concurrency=st.integers(1, 4), per_host=st.integers(1, 2))
    def begin(self, concurrency: int, per_host: int) -> None:
        self.concurrency, self.per_host = concurrency, per_host
        self.scheduler: Scheduler[str] = Scheduler(
            self.work, clock=FakeClock(), concurrency=concurrency, per_host=per_host
        )
        self.running = self.loop.create_task(self.scheduler.run())
        self.passes(A_MOMENT_S)

    async def work(self, key: str, due: float) -> float:
        turn, now = self.model.get(key), self.loop.time()
        if turn is None:
            self.problems.append(f"{key} runs though it was removed")
            return now + EVERY_S
        self.judge_start(key, turn, due, now)
        turn.running = True
        self.starts[key] += 1
        self.bodies[key] += 1
        following = now + AFTER_FAULT_S
        try:
            await asyncio.sleep(self.takes.get(key, QUICK_S))
            if key in self.faulty:
                following = self.loop.time() + AFTER_FAULT_S
                raise ZeroDivisionError
            following = max(due + EVERY_S, self.loop.time() + A_MOMENT_S)
        finally:
            self.bodies[key] -= 1
            self.last_end[host_of(key)] = self.loop.time()
            self.an_end.set()
            turn.running, turn.ended_at = False, self.loop.time()
            turn.waits_until(following if turn.again is None else min(following, turn.again))
            turn.again = None
        return following

    def judge_start(self, key: str, turn: Turn, due: float, now: float) -> None:
        told = f"{key} due {due} at {now}"
        if turn.running:
            self.problems.append(f"{told}: doubled")
        if now < due:
            self.problems.append(f"{told}: early")
        if not turn.due <= due <= turn.due + turn.stalled_s + A_MOMENT_S:
            self.problems.append(f"{told}: should be due {turn.due} (+{turn.stalled_s})")
        for other in self.model.keys() - {key}:
            waiting = self.scheduler.due(other)
            # A slot that became free at this very moment may not have been there when this start was decided.
            had_slot = self.busy_at(host_of(other)) < self.per_host and self.last_end.get(host_of(other)) != now
            if waiting is not None and waiting < due and had_slot:
                self.problems.append(f"{told}: overtakes {other}, due {waiting}")

    def busy_at(self, host: str) -> int:
        known = {key for key in self.model if self.scheduler.due(key) is None}
        orphans = {key for key, count in self.bodies.items() if count and key not in known}
        return sum(host_of(key) == host for key in known | orphans)

    def passes(self, seconds: float, act: Callable[[], None] = lambda: None, moment: int | None = None) -> None:
        async def scenario() -> None:
            if moment is not None and self.bodies.total():
                self.an_end.clear()
                await self.an_end.wait()
                for _ in range(moment):
                    await asyncio.sleep(0)
            act()
            await asyncio.sleep(seconds)
            for _ in range(SETTLED_AFTER):
                await asyncio.sleep(0)

        self.loop.run_until_complete(scenario())

    @rule(key=keys, delay=delays)
    def add(self, key: str, delay: float) -> None:
        def act() -> None:
            due = self.loop.time() + delay
            self.model[key] = Turn(due)
            self.scheduler.add(key, host_of(key), due)

        self.passes(A_MOMENT_S, act)

    @rule(host=st.sampled_from(HOSTS))
    def add_a_crowd(self, host: str) -> None:
        """More than its host has slots, all due now."""

        def act() -> None:
            for key in KEYS:
                if host_of(key) == host:
                    self.model[key] = Turn(self.loop.time())
                    self.scheduler.add(key, host, self.loop.time())

        self.passes(A_MOMENT_S, act)

    @rule(gone=st.lists(keys, min_size=1, max_size=4), moment=moments)
    def remove(self, gone: list[str], moment: int | None) -> None:
        def act() -> None:
            for key in gone:
                self.model.pop(key, None)
                self.scheduler.remove(key)

        self.passes(A_MOMENT_S, act, moment)

    @rule(key=keys, delay=delays, moment=moments)
    def reschedule(self, key: str, delay: float, moment: int | None) -> None:
        def act() -> None:
            due = self.loop.time() + delay
            turn = self.model.get(key)
            if turn is not None and self.scheduler.due(key) is not None:
                turn.waits_until(due)
            elif turn is not None and turn.ended_at == self.loop.time():
                turn.waits_until(min(turn.due, due))
            elif turn is not None:
                turn.again = due if turn.again is None else min(turn.again, due)
            self.scheduler.reschedule(key, due)

        self.passes(A_MOMENT_S, act, moment)

    @rule(host=st.sampled_from(HOSTS), takes=st.sampled_from([QUICK_S, 0.7, 7.0, 45.0]))
    def host_takes(self, host: str, takes: float) -> None:
        self.takes.update({key: takes for key in KEYS if host_of(key) == host})

    @rule(key=keys)
    def breaks(self, key: str) -> None:
        self.faulty.add(key)

    @rule(key=keys)
    def is_mended(self, key: str) -> None:
        self.faulty.discard(key)

    @rule(seconds=st.floats(0.5, 90.0))
    def stall(self, seconds: float) -> None:
        for turn in self.model.values():
            turn.stalled_s += seconds
        self.passes(A_MOMENT_S, lambda: stand_still(seconds))

    @rule(seconds=st.floats(0.01, 60.0))
    def wait(self, seconds: float) -> None:
        self.passes(seconds)

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert not self.problems, self.problems

    @invariant()
    def limits_are_kept(self) -> None:
        assert self.bodies.total() <= self.concurrency
        assert all(self.busy_at(host) <= self.per_host for host in HOSTS)

    @invariant()
    def who_is_due_waits_only_for_a_slot(self) -> None:
        """Nothing is lost: a key that is due and does not run is held up by a limit."""
        now = self.loop.time()
        for key, turn in self.model.items():
            due = self.scheduler.due(key)
            assert (due is None) is turn.running, key
            if due is not None:
                assert turn.due <= due <= turn.due + turn.stalled_s + A_MOMENT_S, key
                is_full = self.bodies.total() == self.concurrency or self.busy_at(host_of(key)) == self.per_host
                assert due >= now - A_MOMENT_S or is_full, f"{key} is due since {now - due} s and nobody runs it"

    @invariant()
    def its_numbers_are_true(self) -> None:
        statistics = self.scheduler.statistics()
        assert statistics.keys == len(self.model)
        assert statistics.in_flight == self.bodies.total()
        assert statistics.started == sum(statistics.lateness_counts)
        # What was removed before its first step has started, but did nothing.
        assert statistics.started >= self.starts.total()

    def teardown(self) -> None:
        """Left alone with work that is quick again, every key has its turns, and no more than those."""
        try:
            self.is_left_alone()
        finally:
            LOG.disabled = False
            self.running.cancel()
            self.loop.run_until_complete(asyncio.gather(self.running, return_exceptions=True))
            self.loop.close()

    def is_left_alone(self) -> None:
        self.takes.clear()
        self.faulty.clear()
        # Work under way takes 45 s, the latest due time is 40 s and what stalls added away, a fault costs 30 s.
        self.passes(120.0 + max((turn.stalled_s for turn in self.model.values()), default=0.0))
        self.who_is_due_waits_only_for_a_slot()
        before = self.starts.copy()
        self.passes(10 * EVERY_S)
        for key in KEYS:
            turns = self.starts[key] - before[key]
            assert turns in ((9, 10, 11) if key in self.model else (0,)), (key, turns)
        self.nothing_went_wrong()


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
