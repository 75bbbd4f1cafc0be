import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.health.fakeclock import FakeClock, run, stand_still

from vmcp.health.scheduler import AFTER_FAULT_S, Scheduler

START = 1000.0
"""What the fake clock says first."""


class Site:
    """A scheduler whose work takes `takes` seconds and comes again `every` seconds, and what it saw."""

    def __init__(self, *, takes: float = 0.0, every: float = 30.0, concurrency: int = 100, per_host: int = 100) -> None:
        self.takes = takes
        self.every = every
        self.starts: dict[str, list[float]] = defaultdict(list)
        self.ended: Counter[str] = Counter()
        self.now_running: Counter[str] = Counter()
        self.at_host: Counter[str] = Counter()
        self.most_running = 0
        self.most_at_host: Counter[str] = Counter()
        self.cancelled: list[str] = []
        self.doubled: list[str] = []
        self.scheduler: Scheduler[str] = Scheduler(
            self.work, clock=FakeClock(), concurrency=concurrency, per_host=per_host
        )

    async def work(self, key: str, due: float) -> float:
        host = key.split("/")[0]
        if self.now_running[key]:
            self.doubled.append(key)  # An assertion here would be taken for a fault of the work.
        self.starts[key].append(now())
        self.now_running[key] += 1
        self.at_host[host] += 1
        self.most_running = max(self.most_running, self.at_host.total())
        self.most_at_host[host] = max(self.most_at_host[host], self.at_host[host])
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        finally:
            self.now_running[key] -= 1
            self.at_host[host] -= 1
        self.ended[key] += 1
        return max(due + self.every, now())

    def add(self, key: str, due: float = START) -> None:
        self.scheduler.add(key, key.split("/")[0], due)

    async def runs_for(self, seconds: float, *during: Callable[[], None]) -> None:
        """Run for a while; each of `during` is called after an equal share of it."""
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(self.scheduler.run())
            for act in during:
                await asyncio.sleep(seconds / (len(during) + 1))
                act()
            await asyncio.sleep(seconds / (len(during) + 1))
            loop.cancel()


def now() -> float:
    return asyncio.get_running_loop().time()


def test_work_starts_exactly_when_due_and_does_not_drift() -> None:
    site = Site(takes=7.0)
    site.add("a/1", START + 0.125)
    run(site.runs_for(3000.0))
    assert site.starts["a/1"] == [START + 0.125 + 30 * n for n in range(100)]
    assert site.scheduler.statistics().lateness_max_s == 0.0


def test_never_more_at_once_than_allowed() -> None:
    site = Site(takes=1.0, concurrency=5)
    for number in range(50):
        site.add(f"h{number}/1")
    run(site.runs_for(60.0))
    assert site.most_running == 5
    assert len(site.starts) == 50


def test_a_busy_host_holds_up_no_other() -> None:
    site = Site(takes=20.0, per_host=2)
    for number in range(20):
        site.add(f"slow/{number}", START)
    site.add("quick/1", START + 1)
    run(site.runs_for(29.0))
    assert site.most_at_host["slow"] == 2
    assert site.starts["quick/1"] == [START + 1]
    assert site.scheduler.statistics().held > 0


def test_all_of_a_busy_host_have_their_turn() -> None:
    site = Site(takes=10.0, per_host=2)
    for number in range(20):
        site.add(f"slow/{number}", START + number / 100)
    run(site.runs_for(1000.0))
    turns = [len(starts) for starts in site.starts.values()]
    assert len(turns) == 20
    assert max(turns) - min(turns) <= 1


def test_under_overload_lateness_grows_evenly_and_nobody_starves() -> None:
    site = Site(takes=1.0, every=10.0, concurrency=5)
    rng = random.Random(1)
    for number in range(200):
        site.add(f"h{number}/1", START + rng.uniform(0, 10))
    run(site.runs_for(400.0))
    turns = [len(site.starts[f"h{number}/1"]) for number in range(200)]
    assert max(turns) - min(turns) <= 1
    statistics = site.scheduler.statistics()
    assert statistics.overdue_s > 0
    assert statistics.lateness(0.5) > 10.0


def test_after_a_stall_nothing_fires_all_at_once() -> None:
    site = Site(every=30.0, concurrency=10_000, per_host=10_000)
    rng = random.Random(2)
    for number in range(3000):
        site.add(f"h/{number}", START + rng.uniform(0, 30))
    woke: list[float] = []
    run(site.runs_for(240.0, lambda: (stand_still(60.0), woke.append(now())), lambda: None))
    per_second = Counter(int(at - woke[0]) for starts in site.starts.values() for at in starts if at >= woke[0])
    usual = 3000 / 30
    assert max(per_second.values()) < 2 * usual
    assert all(any(woke[0] <= at <= woke[0] + 31 for at in starts) for starts in site.starts.values())
    assert site.scheduler.statistics().stalls == 1


def test_a_short_stall_spreads_only_what_it_made_late() -> None:
    site = Site(every=30.0)
    for number in range(30):
        site.add(f"h/{number}", START + number)
    woke: list[float] = []
    run(site.runs_for(31.0, lambda: (stand_still(5.0), woke.append(now()))))
    late = sorted(at for starts in site.starts.values() for at in starts if woke[0] <= at < woke[0] + 5)
    assert max(Counter(int(at) for at in late).values()) <= 2
    assert site.starts["h/29"] == [START + 29]


@pytest.mark.parametrize("put_off", [False, True])
def test_a_slot_that_is_not_taken_by_the_first_in_line_is_the_next_ones(put_off: bool) -> None:
    site = Site(takes=5.0, every=1000.0, per_host=1)
    site.add("h/1", START)
    site.add("h/2", START + 1)
    site.add("h/3", START + 2)

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(site.scheduler.run())
            await asyncio.sleep(3)
            site.scheduler.remove("h/1")
            while site.scheduler.statistics().in_flight:  # noqa: ASYNC110 - turn by turn
                await asyncio.sleep(0)
            # The slot is free, and the loop has not turned yet.
            if put_off:
                site.scheduler.reschedule("h/2", START + 500)
            else:
                site.scheduler.remove("h/2")
            await asyncio.sleep(100)
            loop.cancel()

    run(scenario())
    assert len(site.starts["h/3"]) == 1


def test_removed_before_its_turn_it_does_not_run() -> None:
    site = Site()
    site.add("a/1", START + 10)
    run(site.runs_for(20.0, lambda: None, lambda: None, lambda: site.scheduler.remove("a/1")))
    assert len(site.starts["a/1"]) == 1
    assert len(site.scheduler) == 0


def test_removed_while_running_it_is_cancelled_and_gone() -> None:
    site = Site(takes=10.0)
    site.add("a/1")
    run(site.runs_for(100.0 / 9, lambda: site.scheduler.remove("a/1")))
    assert site.cancelled == ["a/1"]
    assert site.scheduler.statistics().in_flight == 0


def test_replaced_while_running_it_runs_once_for_each() -> None:
    site = Site(takes=10.0)
    site.add("a/1")
    run(site.runs_for(16.0, lambda: site.add("a/1", now())))
    assert site.starts["a/1"] == [START, START + 8.0]
    assert site.cancelled == ["a/1", "a/1"]


def test_asked_for_while_running_it_runs_once_more_afterwards() -> None:
    site = Site(takes=10.0)
    site.add("a/1")

    def ask() -> None:
        for _ in range(5):
            site.scheduler.reschedule("a/1", now())

    run(site.runs_for(16.0, ask))
    assert site.starts["a/1"] == [START, START + 10.0]


def test_rescheduled_it_runs_at_the_new_time_only() -> None:
    site = Site(every=1000.0)
    site.add("a/1", START + 500)
    run(site.runs_for(600.0, lambda: site.scheduler.reschedule("a/1", now() + 7), lambda: None, lambda: None))
    assert site.starts["a/1"] == [START + 150 + 7]


def test_rescheduling_for_ever_holds_no_memory() -> None:
    site = Site()
    site.add("a/1")
    for number in range(10_000):
        site.scheduler.reschedule("a/1", START + number)
    assert len(site.scheduler._heap) < 100


def test_a_fault_in_one_piece_of_work_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    site = Site(every=10.0)
    sound = site.work
    faults: list[float] = []

    async def work(key: str, due: float) -> float:
        if key == "bad/1":
            faults.append(now())
            raise ZeroDivisionError
        return await sound(key, due)

    site.scheduler._work = work
    site.add("good/1")
    site.add("bad/1")
    run(site.runs_for(95.0))
    assert len(site.starts["good/1"]) == 10
    assert faults == [START + AFTER_FAULT_S * n for n in range(4)]
    assert "a fault in the check of bad/1" in caplog.text


def test_run_again_after_its_end_it_goes_on() -> None:
    site = Site(takes=5.0)
    site.add("a/1")

    async def scenario() -> None:
        await site.runs_for(2.0)
        await site.runs_for(100.0)

    run(scenario())
    assert site.ended["a/1"] >= 3


def test_an_idle_scheduler_still_turns() -> None:
    site = Site()
    run(site.runs_for(60.0))
    turned = site.scheduler.statistics().last_turn
    assert turned is not None
    assert turned >= START + 58


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "reschedule", "stall", "wait"]),
        st.sampled_from([f"{host}/{number}" for host in "ab" for number in range(3)]),
        st.floats(0, 40),
    ),
    max_size=30,
)


@given(STEPS, st.integers(1, 3), st.integers(1, 3), st.floats(0, 12))
@settings(max_examples=200, deadline=None)
def test_whatever_happens_nothing_is_lost_doubled_or_over_its_limit(
    steps: list[tuple[str, str, float]], concurrency: int, per_host: int, takes: float
) -> None:
    site = Site(takes=takes, concurrency=concurrency, per_host=per_host)
    present: set[str] = set()

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(site.scheduler.run())
            for verb, key, seconds in steps:
                if verb == "add":
                    site.add(key, now() + seconds)
                    present.add(key)
                elif verb == "remove":
                    site.scheduler.remove(key)
                    present.discard(key)
                elif verb == "reschedule":
                    site.scheduler.reschedule(key, now() + seconds)
                elif verb == "stall":
                    stand_still(seconds)
                await asyncio.sleep(seconds if verb == "wait" else 0.001)
            await asyncio.sleep(0.001)
            gone = {key: len(starts) for key, starts in site.starts.items() if key not in present}
            seen = {key: len(site.starts[key]) for key in present}
            await asyncio.sleep(300.0)
            assert all(len(site.starts[key]) > count for key, count in seen.items()), "lost"
            assert all(len(site.starts[key]) == count for key, count in gone.items()), "not gone"
            loop.cancel()

    run(scenario())
    assert site.doubled == []
    assert site.most_running <= concurrency
    assert all(most <= per_host for most in site.most_at_host.values())
    assert len(site.scheduler) == len(present)
