"""What a person overrules: a record driven step by step, and any sequence of orders, checks and time."""

import math
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.health.checked import OK, REFUSED, THRESHOLDS_ONLY, WALL, WITH_BREAKER, Backend

from vmcp.api.operational import OverrideMode
from vmcp.health import tracker
from vmcp.health.breaker import LEGAL, EarlyEnd
from vmcp.health.overrule import abide, is_ordered_open, override_ends
from vmcp.health.policy import HealthPolicy, Overrule
from vmcp.health.record import Record
from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition, counted, usable


def ordered(mode: OverrideMode, until: float | None = None, policy: HealthPolicy = WITH_BREAKER) -> HealthPolicy:
    return replace(policy, overrule=Overrule(mode, until, "maintenance"))


def order(backend: Backend, policy: HealthPolicy) -> Transition | None:
    """The policy changes under the record, as `set_targets` does it."""
    backend.target = replace(backend.target, policy=policy)
    backend.record, transition = tracker.adopt(backend.record, policy, backend.now, WALL + backend.now)
    return transition


def begin(backend: Backend) -> Transition | None:
    policy = backend.target.policy
    backend.record, transition = tracker.begin(backend.record, policy, backend.now, WALL + backend.now, 0.5, 10.5)
    return transition


def test_forced_open_is_out_at_once_and_says_who_and_until_when() -> None:
    backend = Backend()
    backend.checked(OK)
    transition = order(backend, ordered(OverrideMode.FORCED_OPEN, WALL + 3600))
    seen = backend.snapshot
    assert transition is not None
    assert (seen.health, seen.circuit, seen.open_until) == (Health.UNHEALTHY, Circuit.OPEN, WALL + 3600)
    assert not usable(seen)
    assert seen.override is not None
    assert (seen.override.mode, seen.override.since) == (OverrideMode.FORCED_OPEN, WALL)
    assert seen.detail == "forced open until 2027-01-15T09:00:00Z (maintenance)"


@pytest.mark.parametrize("policy", [WITH_BREAKER, THRESHOLDS_ONLY])
@pytest.mark.parametrize("removed", [True, False])
def test_forced_open_ends_through_half_open_with_and_without_a_breaker(policy: HealthPolicy, removed: bool) -> None:
    backend = Backend(policy)
    backend.checked(OK)
    order(backend, ordered(OverrideMode.FORCED_OPEN, WALL + 60, policy))
    begin(backend)
    assert not tracker.may_check(backend.record)
    if removed:
        order(backend, policy)
    else:
        backend.now = 60.0
        begin(backend)
    assert backend.snapshot.circuit is Circuit.HALF_OPEN
    assert not usable(backend.snapshot)
    backend.due = backend.now
    seen = backend.checked(OK)
    assert (seen.circuit, seen.health, seen.override) == (Circuit.CLOSED, Health.DEGRADED, None)


def test_without_a_breaker_a_backend_that_fails_its_trial_stays_out() -> None:
    backend = Backend(THRESHOLDS_ONLY)
    order(backend, ordered(OverrideMode.FORCED_OPEN, policy=THRESHOLDS_ONLY))
    order(backend, THRESHOLDS_ONLY)
    seen = backend.checked(REFUSED)
    assert (seen.circuit, seen.health) == (Circuit.CLOSED, Health.UNHEALTHY)
    assert backend.checked(OK).health is Health.HEALTHY


def test_forced_open_without_an_end_has_no_due_time_but_what_a_person_does() -> None:
    backend = Backend()
    order(backend, ordered(OverrideMode.FORCED_OPEN))
    assert backend.record.breaker.open_until == math.inf
    assert backend.snapshot.open_until is None
    for cause in EarlyEnd:
        record, transition = tracker.end_open_time(backend.record, backend.target.policy, cause, 1.0, WALL + 1)
        assert (record.breaker.circuit, transition) == (Circuit.OPEN, None)


def test_a_check_under_way_when_a_backend_is_forced_open_changes_nothing() -> None:
    backend = Backend()
    begin(backend)
    order(backend, ordered(OverrideMode.FORCED_OPEN))
    before = backend.record
    assert tracker.observe(before, OK, backend.target, 1.0, WALL + 1, 0.5) == (before, None)


def test_forced_closed_is_used_whatever_checks_say_and_health_is_shown_as_measured() -> None:
    backend = Backend().opened()
    transition = order(backend, ordered(OverrideMode.FORCED_CLOSED))
    assert transition is not None
    assert (transition.before, transition.after) == (Circuit.OPEN, Circuit.CLOSED)
    backend.due = backend.now
    seen = backend.checked(*[REFUSED] * 10)
    assert (seen.circuit, seen.health, seen.consecutive_failures) == (Circuit.CLOSED, Health.UNHEALTHY, 15)
    assert usable(seen)
    assert counted(seen)
    order(backend, WITH_BREAKER)
    assert not usable(backend.snapshot)
    assert backend.checked(REFUSED).circuit is Circuit.OPEN


def test_disabled_leaves_the_thresholds_alone() -> None:
    backend = Backend(ordered(OverrideMode.DISABLED))
    order(backend, ordered(OverrideMode.DISABLED))
    seen = backend.checked(*[REFUSED] * 6)
    assert (seen.circuit, seen.health) == (Circuit.CLOSED, Health.UNHEALTHY)
    assert not usable(seen)
    assert backend.checked(OK).health is Health.HEALTHY


def test_since_is_kept_while_the_mode_is_and_over_a_restart_and_a_changed_target() -> None:
    backend = Backend()
    order(backend, ordered(OverrideMode.FORCED_OPEN))
    backend.now = 100.0
    later = ordered(OverrideMode.FORCED_OPEN, WALL + 500)
    assert order(backend, later) is None
    recalled = tracker.recall(backend.snapshot, later, 7.0, WALL + 200)
    recalled, transition = abide(recalled, later, 7.0, WALL + 200)
    assert transition is None
    assert tracker.snapshot_of(recalled, backend.target) == backend.snapshot
    assert recalled.breaker.open_until == pytest.approx(7.0 + 300.0)
    fresh, transition = tracker.afresh(backend.record, WALL + 100)
    assert transition is None
    fresh, transition = abide(fresh, later, 100.0, WALL + 100)
    assert transition is None
    assert fresh.override is not None
    assert (fresh.override.since, fresh.breaker.circuit) == (WALL, Circuit.OPEN)


def test_an_order_whose_time_was_over_before_a_restart_ends_through_half_open() -> None:
    backend = Backend(THRESHOLDS_ONLY)
    policy = ordered(OverrideMode.FORCED_OPEN, WALL + 60, THRESHOLDS_ONLY)
    order(backend, policy)
    recalled = tracker.recall(backend.snapshot, policy, 7.0, WALL + 61)
    record, transition = abide(recalled, policy, 7.0, WALL + 61)
    assert transition is not None
    assert (record.breaker.circuit, record.override) == (Circuit.HALF_OPEN, None)
    assert not is_ordered_open(policy, WALL + 61)
    assert is_ordered_open(policy, WALL + 59)


ORDERS = st.one_of(
    st.none(),
    st.builds(lambda mode, seconds: (mode, seconds), st.sampled_from(OverrideMode), st.none() | st.floats(0.01, 500)),
)


class Overruling(RuleBasedStateMachine):
    """Any orders, checks and restarts: no sequence of them wedges a backend."""

    @initialize(enabled=st.booleans())
    def start(self, enabled: bool) -> None:
        self.plain = WITH_BREAKER if enabled else THRESHOLDS_ONLY
        self.backend = Backend(self.plain)

    def told(self, transition: Transition | None) -> None:
        if transition is not None:
            assert (transition.before, transition.after) in LEGAL

    @rule(asked=ORDERS)
    def is_ordered(self, asked: tuple[OverrideMode, float | None] | None) -> None:
        policy = self.plain
        if asked is not None:
            mode, seconds = asked
            until = None if seconds is None else WALL + self.backend.now + seconds
            policy = replace(policy, overrule=Overrule(mode, until))
        self.told(order(self.backend, policy))

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.backend.now += seconds

    @rule(failed=st.booleans())
    def is_checked(self, failed: bool) -> None:
        self.told(begin(self.backend))
        if tracker.may_check(self.backend.record):
            outcome = REFUSED if failed else OK
            record, now = self.backend.record, self.backend.now
            self.backend.record, transition = tracker.observe(
                record, outcome, self.backend.target, now, WALL + now, 0.5
            )
            self.told(transition)

    @rule(cause=st.sampled_from(EarlyEnd))
    def open_time_ends_early(self, cause: EarlyEnd) -> None:
        record, now = self.backend.record, self.backend.now
        self.backend.record, transition = tracker.end_open_time(
            record, self.backend.target.policy, cause, now, WALL + now
        )
        self.told(transition)

    @rule()
    def operator_restarts(self) -> None:
        policy, now = self.backend.target.policy, self.backend.now
        record = tracker.recall(self.backend.snapshot, policy, now, WALL + now)
        self.backend.record, transition = abide(record, policy, now, WALL + now)
        self.told(transition)

    @invariant()
    def an_order_in_force_is_obeyed(self) -> None:
        if not hasattr(self, "backend"):
            return
        asked, wall = self.backend.target.policy.overrule, WALL + self.backend.now
        record, _ = abide(self.backend.record, self.backend.target.policy, self.backend.now, wall)
        seen = tracker.snapshot_of(record, self.backend.target)
        if asked is None or (asked.until is not None and wall >= asked.until):
            assert seen.override is None
            return
        assert seen.override is not None
        assert seen.override.mode is asked.mode
        if asked.mode is OverrideMode.FORCED_OPEN:
            assert not usable(seen)
        else:
            assert seen.circuit is Circuit.CLOSED
        assert asked.mode is not OverrideMode.FORCED_CLOSED or usable(seen)

    @invariant()
    def is_never_wedged(self) -> None:
        """Without an order, or after its time, waiting for due times and answering is enough to be used again."""
        if not hasattr(self, "backend"):
            return
        policy = self.backend.target.policy
        if policy.overrule is not None and policy.overrule.until is None:
            policy = self.plain
        target, record, now = replace(self.backend.target, policy=policy), self.backend.record, self.backend.now
        record, _ = tracker.adopt(record, policy, now, WALL + now)
        for _ in range(8):
            now = max(now, next_look(record, now))
            record, _ = tracker.begin(record, policy, now, WALL + now, 0.0, 10.5)
            if tracker.may_check(record):
                record, _ = tracker.observe(record, OK, target, now, WALL + now, 0.0)
        seen = tracker.snapshot_of(record, target)
        assert (seen.circuit, seen.health, seen.override) == (Circuit.CLOSED, Health.HEALTHY, None)


def next_look(record: Record, now: float) -> float:
    """When something happens by itself: an open time, a trial or an order ends."""
    ends = (record.breaker.open_until, record.breaker.trial_until, override_ends(record, now, WALL + now))
    return max((end for end in ends if math.isfinite(end)), default=now)


def test_which_backends_are_used() -> None:
    out = Snapshot("a", "", "f", Health.UNHEALTHY)
    assert not usable(out)
    assert not usable(replace(out, health=Health.HEALTHY, circuit=Circuit.HALF_OPEN))
    assert usable(replace(out, health=Health.UNKNOWN))
    assert not counted(replace(out, health=Health.UNKNOWN))


TestOverrulingNeverWedges = Overruling.TestCase
TestOverrulingNeverWedges.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
