"""The prober's doubt in itself: against a model that counts the long way, and in a fleet."""

import asyncio
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.health.fleet import OK, POLICY, REFUSED, Fleet, target

from vmcp.api.category import ErrorCategory
from vmcp.health.breaker import EarlyEnd
from vmcp.health.doubt import FEWEST_HOSTS, FEWEST_TARGETS, LONGEST_INTERVALS, Doubt
from vmcp.health.outcome import Outcome
from vmcp.health.snapshot import Circuit, Health

INTERVAL_S = 30.0


def of(count: int, hosts: int) -> Doubt[int]:
    doubt: Doubt[int] = Doubt()
    for key in range(count):
        doubt.watch(key, f"host-{key % hosts}", INTERVAL_S, answers=True)
    return doubt


def test_over_half_of_ten_on_three_hosts_is_doubted_and_not_less() -> None:
    doubt = of(10, 3)
    assert [doubt.failed(key, 1.0) for key in range(6)] == [False] * 5 + [True]
    assert doubt.since == 1.0


def test_nine_targets_are_too_few() -> None:
    doubt = of(9, 3)
    assert not any(doubt.failed(key, 1.0) for key in range(9))


def test_two_hosts_that_fail_are_an_outage_of_two_hosts() -> None:
    doubt = of(20, 2)
    doubt.watch(20, "host-9", INTERVAL_S, answers=True)
    assert not any(doubt.failed(key, 1.0) for key in range(20))


def test_those_who_failed_before_or_never_answered_prove_nothing() -> None:
    doubt = of(10, 3)
    for key in range(100, 120):
        doubt.watch(key, f"dead-{key}", INTERVAL_S, answers=False)
    assert not any(doubt.failed(key, 1.0) for key in range(100, 120))
    assert [doubt.failed(key, 1.0) for key in range(6)][-1]


def test_failures_that_come_one_by_one_over_hours_are_believed() -> None:
    doubt = of(20, 5)
    assert not any(doubt.failed(key, key * 600.0) for key in range(20))


def test_it_ends_when_half_of_them_answer_again() -> None:
    doubt = of(10, 5)
    assert [doubt.failed(key, 1.0) for key in range(8)][-1]
    for key in range(3):
        doubt.answered(key, 2.0)
    assert doubt.since is None
    assert not doubt.failed(7, 3.0)


def test_an_outage_that_is_real_is_believed_after_three_intervals_and_not_doubted_again() -> None:
    doubt = of(10, 5)
    for key in range(10):
        doubt.failed(key, 1.0)
    assert doubt.failed(0, 1.0 + LONGEST_INTERVALS * INTERVAL_S - 0.1)
    assert not any(doubt.failed(key, 1.0 + LONGEST_INTERVALS * INTERVAL_S) for key in range(10))


@dataclass
class Backend:
    host: str
    interval_s: float
    answers: bool
    began: float | None = None


class DoubtMachine(RuleBasedStateMachine):
    """Any fleet and any outcomes, beside a model that looks at every target each time."""

    def __init__(self) -> None:
        super().__init__()
        self.doubt: Doubt[int] = Doubt()
        self.fleet: dict[int, Backend] = {}
        self.now = 100.0
        self.since: float | None = None
        self.until = 0.0

    @rule(key=st.integers(0, 24), host=st.integers(0, 4), slow=st.booleans(), answers=st.booleans())
    def is_watched(self, key: int, host: int, slow: bool, answers: bool) -> None:
        backend = Backend(f"host-{host}", 60.0 if slow else INTERVAL_S, answers)
        self.fleet[key] = backend
        self.doubt.watch(key, backend.host, backend.interval_s, answers=answers)

    @rule(count=st.integers(10, 25))
    def many_are_watched(self, count: int) -> None:
        for key in range(count):
            self.is_watched(key, key % 5, False, True)

    @rule(key=st.integers(0, 24))
    def is_gone(self, key: int) -> None:
        self.fleet.pop(key, None)
        self.doubt.forget(key)

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.integers(0, 24))
    def answers(self, key: int) -> None:
        if key in self.fleet:
            self.fleet[key].answers, self.fleet[key].began = True, None
        self.doubt.answered(key, self.now)
        self.judge()

    @rule(keys=st.lists(st.integers(0, 24), max_size=25))
    def fail(self, keys: list[int]) -> None:
        for key in keys:
            backend = self.fleet.get(key)
            if backend is not None and backend.answers:
                backend.answers, backend.began = False, self.now
            disregarded = self.doubt.failed(key, self.now)
            self.judge()
            assert disregarded == (self.since is not None)

    def judge(self) -> None:
        if self.since is None:
            for backend in self.fleet.values():
                if backend.began is not None and backend.began + backend.interval_s < self.now:
                    backend.began = None
        began = [backend for backend in self.fleet.values() if backend.began is not None]
        count = len(began) + sum(backend.answers for backend in self.fleet.values())
        if self.since is None:
            hosts = {backend.host for backend in began}
            if count >= FEWEST_TARGETS and 2 * len(began) > count and len(hosts) >= FEWEST_HOSTS:
                self.since = self.now
                self.until = self.now + LONGEST_INTERVALS * max(backend.interval_s for backend in began)
        elif self.now >= self.until or 2 * len(began) <= count:
            self.since = None
            for backend in began:
                backend.began = None

    @invariant()
    def is_as_the_model_says(self) -> None:
        assert self.doubt.since == self.since

    @invariant()
    def never_lasts(self) -> None:
        if self.since is not None:
            assert self.until - self.since <= LONGEST_INTERVALS * 60.0


TestDoubt = DoubtMachine.TestCase
TestDoubt.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_a_network_that_fails_as_a_whole_freezes_states_and_says_so_and_comes_back_unnoticed() -> None:
    owners_told: list[str] = []
    fleet = Fleet(doubted=owners_told.append)
    names = [f"b{number}" for number in range(20)]

    async def act() -> None:
        fleet.monitor.set_targets("uid", [target(name) for name in names])
        await asyncio.sleep(90)
        for name in names:
            fleet.backends.answers[f"{name}-1"] = REFUSED
        async with asyncio.timeout(60):
            while not fleet.monitor.is_doubting:  # noqa: ASYNC110 - as a user would look
                await asyncio.sleep(0.1)
        assert owners_told == ["uid"]
        frozen = {name: (fleet.seen(name).health, fleet.seen(name).circuit) for name in names}
        checked = {name: fleet.seen(name).last_check_at or 0.0 for name in names}
        await asyncio.sleep(40)
        for name in names:
            health, circuit = frozen[name]
            if circuit is Circuit.CLOSED:
                assert (fleet.seen(name).health, fleet.seen(name).circuit) == (health, circuit)
                assert (fleet.seen(name).last_check_at or 0.0) > checked[name]
        assert Circuit.CLOSED in {circuit for _, circuit in frozen.values()}
        fleet.backends.answers.clear()
        await asyncio.sleep(200)
        assert not fleet.monitor.is_doubting
        assert {fleet.seen(name).health for name in names} == {Health.HEALTHY}

    fleet.runs(act)
    assert owners_told == ["uid", "uid"]


def test_an_outage_that_is_real_opens_circuits_in_the_end() -> None:
    fleet = Fleet()
    names = [f"b{number}" for number in range(20)]

    async def act() -> None:
        fleet.monitor.set_targets("uid", [target(name) for name in names])
        await asyncio.sleep(90)
        for name in names:
            fleet.backends.answers[f"{name}-1"] = REFUSED
        await asyncio.sleep(5 * POLICY.interval_s)
        assert not fleet.monitor.is_doubting
        await asyncio.sleep(2 * POLICY.interval_s)
        assert {fleet.seen(name).health for name in names} == {Health.UNHEALTHY}

    fleet.runs(act)


def test_server_errors_are_never_our_own_fault() -> None:
    fleet = Fleet()
    names = [f"b{number}" for number in range(20)]

    async def act() -> None:
        fleet.monitor.set_targets("uid", [target(name) for name in names])
        await asyncio.sleep(90)
        for name in names:
            fleet.backends.answers[f"{name}-1"] = Outcome(ErrorCategory.HTTP_5XX, latency_s=0.01)
        await asyncio.sleep(60)
        assert {fleet.seen(name).circuit for name in names} <= {Circuit.OPEN, Circuit.HALF_OPEN}

    fleet.runs(act)


def test_success_counts_while_in_doubt() -> None:
    fleet = Fleet()
    names = [f"b{number}" for number in range(20)]

    async def act() -> None:
        fleet.backends.answers["sick-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target(name) for name in (*names, "sick")])
        await asyncio.sleep(25)
        assert fleet.seen("sick").health is Health.UNHEALTHY
        for name in names:
            fleet.backends.answers[f"{name}-1"] = REFUSED
        fleet.backends.answers["sick-1"] = OK
        async with asyncio.timeout(60):
            while not fleet.monitor.is_doubting:  # noqa: ASYNC110 - as a user would look
                await asyncio.sleep(0.1)
        fleet.monitor.end_open_time("uid", "sick", EarlyEnd.RESET)
        await asyncio.sleep(1)
        assert fleet.seen("sick").circuit is Circuit.CLOSED

    fleet.runs(act)
