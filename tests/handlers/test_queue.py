"""The keyed queue: each key at most once, never twice at a time, and no key waits for another's failure."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from tests.handlers.waiting import until

from vmcp.handlers import queue as module
from vmcp.handlers.queue import FIRST_BACKOFF_S, LAST_BACKOFF_S, KeyedQueue

Reconcile = Callable[[str], Awaitable[float | None]]


@asynccontextmanager
async def running(queue: KeyedQueue[str], reconcile: Reconcile) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(reconcile))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def turns(count: int = 50) -> None:
    """Let the loop do all that it can do at once."""
    for _ in range(count):
        await asyncio.sleep(0)


class Work:
    """Reconciles as it is told: a key in `held` waits for its event, one in `failing` fails."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.now: list[str] = []
        self.most_of_one_key = 0
        self.held: dict[str, asyncio.Event] = {}
        self.failing: dict[str, int] = {}

    async def __call__(self, key: str) -> float | None:
        self.now.append(key)
        self.most_of_one_key = max(self.most_of_one_key, self.now.count(key))
        try:
            await asyncio.sleep(0)
            if key in self.held:
                await self.held[key].wait()
            if self.failing.get(key, 0) > 0:
                self.failing[key] -= 1
                raise RuntimeError("the API server is away")
            self.done.append(key)
        finally:
            self.now.remove(key)
        return None


class Delays(KeyedQueue[str]):
    """Remembers the delays that were asked for, and waits for none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def add_after(self, key: str, delay_s: float) -> None:
        self.asked.append(delay_s)
        super().add_after(key, 0.0)


@pytest.fixture
def work() -> Work:
    return Work()


async def test_keys_are_run_in_the_order_in_which_they_came(work: Work) -> None:
    queue: KeyedQueue[str] = KeyedQueue(workers=1)
    for key in "cab":
        queue.add(key)
    async with running(queue, work):
        await until(lambda: len(work.done) == 3)
    assert work.done == ["c", "a", "b"]


async def test_a_key_that_waits_is_held_once(work: Work) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for _ in range(1000):
        queue.add("a")
    assert len(queue) == 1
    async with running(queue, work):
        await until(lambda: bool(work.done))
        await turns()
    assert work.done == ["a"]


async def test_a_key_added_while_it_runs_is_run_once_more_and_never_twice_at_a_time(work: Work) -> None:
    queue: KeyedQueue[str] = KeyedQueue(workers=4)
    gate = work.held["a"] = asyncio.Event()
    async with running(queue, work):
        queue.add("a")
        await until(lambda: work.now == ["a"])
        for _ in range(10):
            queue.add("a")
        await turns()
        assert work.now == ["a"]
        gate.set()
        await until(lambda: len(work.done) == 2)
        await turns()
    assert work.done == ["a", "a"]
    assert work.most_of_one_key == 1


async def test_many_adds_from_many_sides_never_run_a_key_twice_at_a_time(work: Work) -> None:
    queue: KeyedQueue[str] = KeyedQueue(workers=8)
    async with running(queue, work):
        for number in range(2000):
            queue.add(f"k{number % 5}")
            if number % 7 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(queue) == 0 and not work.now)
    assert work.most_of_one_key == 1
    assert set(work.done) == {f"k{number}" for number in range(5)}


async def test_different_keys_run_at_the_same_time(work: Work) -> None:
    queue: KeyedQueue[str] = KeyedQueue(workers=3)
    for key in "abcd":
        work.held[key] = asyncio.Event()
        queue.add(key)
    async with running(queue, work):
        await until(lambda: len(work.now) == 3)
        await turns()
        assert sorted(work.now) == ["a", "b", "c"]
        work.held["a"].set()
        await until(lambda: "d" in work.now)


async def test_a_failing_key_waits_twice_as_long_each_time_up_to_a_minute_and_starts_afresh(work: Work) -> None:
    queue = Delays()
    work.failing["a"] = 12
    queue.add("a")
    async with running(queue, work):
        await until(lambda: work.done == ["a"])
        assert queue.asked[:4] == [FIRST_BACKOFF_S * factor for factor in (1, 2, 4, 8)]
        assert queue.asked[-1] == LAST_BACKOFF_S
        assert queue.asked == sorted(queue.asked)

        queue.asked.clear()
        work.failing["a"] = 1
        queue.add("a")
        await until(lambda: len(work.done) == 2)
    assert queue.asked == [FIRST_BACKOFF_S]


async def test_backoff_stays_a_minute_however_often_it_failed() -> None:
    queue = Delays()
    queue._failures["a"] = 100_000

    async def fail(key: str) -> float | None:
        raise RuntimeError

    queue.add("a")
    async with running(queue, fail):
        await until(lambda: bool(queue.asked))
    assert queue.asked[0] == LAST_BACKOFF_S


async def test_an_event_ends_the_wait_of_a_failed_key(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_BACKOFF_S", 3600.0)
    monkeypatch.setattr(module, "LAST_BACKOFF_S", 3600.0)
    queue: KeyedQueue[str] = KeyedQueue()
    work.failing["a"] = 1
    queue.add("a")
    async with running(queue, work):
        await until(lambda: len(queue) == 1 and not work.now and work.failing["a"] == 0)
        queue.add("a")
        await until(lambda: work.done == ["a"])
        await turns()
        assert len(queue) == 0


async def test_a_key_runs_again_after_the_time_that_its_reconcile_asked_for(work: Work) -> None:
    queue = Delays()
    answers = iter([5.0, None])

    async def reconcile(key: str) -> float | None:
        await work(key)
        return next(answers)

    queue.add("a")
    async with running(queue, reconcile):
        await until(lambda: len(work.done) == 2)
        await turns()
    assert queue.asked == [5.0]


async def test_a_later_time_does_not_put_off_what_is_due(work: Work) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    queue.add_after("a", 3600.0)
    async with running(queue, work):
        await until(lambda: work.done == ["a"])
        assert len(queue) == 0


async def test_a_failing_key_delays_no_other(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_BACKOFF_S", 3600.0)
    monkeypatch.setattr(module, "LAST_BACKOFF_S", 3600.0)
    queue: KeyedQueue[str] = KeyedQueue(workers=1)
    work.failing["bad"] = 1000
    for key in ("bad", "a", "b"):
        queue.add(key)
    async with running(queue, work):
        await until(lambda: work.done == ["a", "b"])
    assert work.failing["bad"] == 999


async def test_an_attempt_that_hangs_is_given_up_and_tried_again(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    queue: KeyedQueue[str] = KeyedQueue(workers=1, attempt_timeout_s=0.05)
    gate = work.held["a"] = asyncio.Event()
    queue.add("a")
    with caplog.at_level(logging.WARNING):
        async with running(queue, work):
            await until(lambda: bool(caplog.records))
            gate.set()
            await until(lambda: work.done == ["a"])
    assert caplog.messages[0] == "reconcile failed, again in 0.2 s: a: TimeoutError"
    assert caplog.records[0].exc_info is None


async def test_stopping_ends_what_runs(work: Work) -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    work.held["a"] = asyncio.Event()
    queue.add("a")
    async with running(queue, work):
        await until(lambda: work.now == ["a"])
    assert work.now == []
    assert work.done == []
