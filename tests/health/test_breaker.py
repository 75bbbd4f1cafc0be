import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vmcp.health import breaker as circuits
from vmcp.health.breaker import LEGAL, Breaker, EarlyEnd
from vmcp.health.policy import BreakerPolicy
from vmcp.health.snapshot import Circuit

ON = BreakerPolicy(enabled=True)


def opened(policy: BreakerPolicy = ON, now: float = 0.0) -> Breaker:
    state = Breaker()
    for _ in range(policy.failure_threshold):
        state = circuits.failure(state, policy, now, 0.0)
    return state


def trial_of(policy: BreakerPolicy, state: Breaker) -> tuple[Breaker, float]:
    """The trial that begins exactly when the open time is over."""
    now = state.open_until
    begun = circuits.begin(circuits.passing(state, policy, now, 0.0), now, 10.0)
    assert begun is not None
    return begun, now


def test_opens_at_the_threshold_and_not_before() -> None:
    state = Breaker()
    for failures in range(1, 5):
        state = circuits.failure(state, ON, 0.0, 0.0)
        assert (state.circuit, state.failures) == (Circuit.CLOSED, failures)
    assert circuits.failure(state, ON, 0.0, 0.0).circuit is Circuit.OPEN


def test_a_success_between_failures_starts_the_count_again() -> None:
    state = Breaker(failures=4)
    assert circuits.success(state, ON).failures == 0


def test_switched_off_it_counts_and_never_opens() -> None:
    state = Breaker()
    for _ in range(100):
        state = circuits.failure(state, BreakerPolicy(enabled=False), 0.0, 0.0)
    assert (state.circuit, state.failures) == (Circuit.CLOSED, 100)


def test_open_time_grows_with_each_reopening_in_a_row_up_to_the_cap() -> None:
    state, times = opened(), []
    for _ in range(5):
        started = state.open_until
        state, now = trial_of(ON, state)
        state = circuits.failure(state, ON, now, 0.0)
        times.append(state.open_until - started)
    assert times == [120.0, 240.0, 300.0, 300.0, 300.0]
    assert state.reopenings == 5


def test_closing_forgets_the_reopenings() -> None:
    state, now = trial_of(ON, opened())
    state, now = trial_of(ON, circuits.failure(state, ON, now, 0.0))
    state = circuits.success(state, ON)
    assert state == Breaker()


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.floats(1, 10))
def test_open_time_is_at_most_the_cap_and_a_tenth(reopenings: int, jitter: float, multiplier: float) -> None:
    policy = BreakerPolicy(enabled=True, backoff_multiplier=multiplier)
    assert 60.0 <= circuits.open_time(policy, reopenings, jitter) <= 330.0


def test_one_trial_at_a_time() -> None:
    state, now = trial_of(ON, opened())
    assert circuits.begin(state, now + 1, 10.0) is None


def test_a_trial_that_never_reports_is_a_failure_after_its_timeout() -> None:
    state, now = trial_of(ON, opened())
    assert circuits.passing(state, ON, now + 9.9, 0.0) is state
    after = circuits.passing(state, ON, now + 10.0, 0.0)
    assert (after.circuit, after.reopenings, after.open_until) == (Circuit.OPEN, 1, now + 10.0 + 120.0)


def test_a_trial_given_up_lets_another_begin() -> None:
    state, now = trial_of(ON, opened())
    state = circuits.nothing(state)
    assert state.circuit is Circuit.HALF_OPEN
    assert circuits.begin(state, now, 10.0) is not None


def test_as_many_successes_as_asked_close_it() -> None:
    policy = BreakerPolicy(enabled=True, success_threshold=3)
    state, now = trial_of(policy, opened(policy))
    for _ in range(2):
        state = circuits.success(state, policy)
        assert state.circuit is Circuit.HALF_OPEN
        begun = circuits.begin(state, now, 10.0)
        assert begun is not None
        state = begun
    assert circuits.success(state, policy).circuit is Circuit.CLOSED


def test_a_report_without_a_trial_moves_nothing() -> None:
    half_open = circuits.passing(opened(), ON, 60.0, 0.0)
    for state in (opened(), half_open):
        assert circuits.success(state, ON) is state
        assert circuits.failure(state, ON, 1.0, 0.0) is state


@pytest.mark.parametrize("cause", list(EarlyEnd))
def test_a_named_cause_ends_the_open_time_with_a_trial_not_with_closed(cause: EarlyEnd) -> None:
    assert circuits.end_open_time(opened(), cause).circuit is Circuit.HALF_OPEN


def test_reset_forgets_the_counts_in_any_state() -> None:
    assert circuits.end_open_time(Breaker(failures=4), EarlyEnd.RESET) == Breaker()
    state, now = trial_of(ON, opened())
    state = circuits.end_open_time(circuits.failure(state, ON, now, 0.0), EarlyEnd.RESET)
    assert (state.circuit, state.failures, state.reopenings) == (Circuit.HALF_OPEN, 0, 0)


def test_there_are_five_legal_transitions_and_no_way_from_closed_to_half_open() -> None:
    pairs = set(itertools.permutations(Circuit, 2))
    assert pairs - LEGAL == {(Circuit.CLOSED, Circuit.HALF_OPEN)}


class BreakerMachine(RuleBasedStateMachine):
    """Any sequence of events, with time passing, beside the least that must be true."""

    @initialize(
        threshold=st.integers(1, 6),
        successes=st.integers(1, 4),
        timeout=st.floats(1, 100),
        multiplier=st.floats(1, 4),
    )
    def start(self, threshold: int, successes: int, timeout: float, multiplier: float) -> None:
        self.policy = BreakerPolicy(True, threshold, timeout, multiplier, max(300.0, timeout), successes)
        self.state = Breaker()
        self.now = 0.0
        self.failures_in_a_row = 0
        self.early = False
        self.person = False

    def move(self, after: Breaker) -> None:
        before, self.state = self.state, after
        if before.circuit is after.circuit:
            return
        assert (before.circuit, after.circuit) in LEGAL
        if self.person:
            return
        if before.circuit is Circuit.CLOSED:
            assert self.failures_in_a_row >= self.policy.failure_threshold
        if after.circuit is Circuit.OPEN:
            assert after.open_until >= self.now + self.policy.timeout_s
        if (before.circuit, after.circuit) == (Circuit.OPEN, Circuit.HALF_OPEN):
            assert self.early or self.now >= before.open_until
        if after.circuit is Circuit.CLOSED and self.policy.enabled:
            assert before.successes + 1 >= self.policy.success_threshold

    @rule(seconds=st.floats(0, 400), jitter=st.floats(0, 1, exclude_max=True))
    def time_passes(self, seconds: float, jitter: float) -> None:
        self.now += seconds
        self.move(circuits.passing(self.state, self.policy, self.now, jitter))

    @rule()
    def check_begins(self) -> None:
        begun = circuits.begin(self.state, self.now, 10.0)
        assert (begun is None) == (self.state.circuit is Circuit.OPEN or self.state.trial_until > 0)
        self.move(begun or self.state)

    @rule()
    def succeeds(self) -> None:
        if self.state.circuit is Circuit.CLOSED:
            self.failures_in_a_row = 0
        self.move(circuits.success(self.state, self.policy))
        if self.state.circuit is Circuit.CLOSED:
            self.failures_in_a_row = 0

    @rule(jitter=st.floats(0, 1, exclude_max=True))
    def fails(self, jitter: float) -> None:
        self.failures_in_a_row += 1
        self.move(circuits.failure(self.state, self.policy, self.now, jitter))

    @rule()
    def is_given_up(self) -> None:
        self.move(circuits.nothing(self.state))

    @rule(cause=st.sampled_from(EarlyEnd))
    def ends_early(self, cause: EarlyEnd) -> None:
        self.early = True
        self.move(circuits.end_open_time(self.state, cause))
        self.early = False
        if cause is EarlyEnd.RESET:
            self.failures_in_a_row = 0

    @rule(seconds=st.floats(0.001, 300))
    def is_forced_open(self, seconds: float) -> None:
        self.person = True
        self.move(circuits.forced_open(self.state, self.now + seconds))
        self.person = False
        assert self.state.circuit is Circuit.OPEN
        assert self.state.open_until == self.now + seconds

    @rule()
    def is_forced_closed(self) -> None:
        self.person = True
        self.move(circuits.closed(self.state))
        self.person = False
        self.failures_in_a_row = max(self.failures_in_a_row, self.state.failures)

    @precondition(lambda self: hasattr(self, "policy"))
    @rule(on=st.booleans())
    def is_switched(self, on: bool) -> None:
        self.policy = BreakerPolicy(
            on,
            self.policy.failure_threshold,
            self.policy.timeout_s,
            self.policy.backoff_multiplier,
            self.policy.max_timeout_s,
            self.policy.success_threshold,
        )
        self.move(circuits.passing(self.state, self.policy, self.now, 0.0))
        self.failures_in_a_row = max(self.failures_in_a_row, self.state.failures)

    @invariant()
    def is_never_wedged(self) -> None:
        """From here, a backend that answers is always let in again: time and successful checks suffice."""
        if not hasattr(self, "state"):
            return
        state, now = self.state, self.now
        for _ in range(3 + self.policy.success_threshold):
            now = max(now, state.open_until, state.trial_until)
            state = circuits.passing(state, self.policy, now, 0.0)
            begun = circuits.begin(state, now, 10.0)
            if begun is not None:
                state = circuits.success(begun, self.policy)
        assert state.circuit is Circuit.CLOSED

    @invariant()
    def open_time_is_bounded(self) -> None:
        if hasattr(self, "state") and self.state.circuit is Circuit.OPEN:
            assert self.state.open_until - self.now <= self.policy.max_timeout_s * 1.1 + 1e-6


TestBreakerNeverWedges = BreakerMachine.TestCase
TestBreakerNeverWedges.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
