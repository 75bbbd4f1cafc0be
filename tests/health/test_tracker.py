from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.health.checked import (
    BUSY,
    DENIED,
    GIVEN_UP,
    LIMITED,
    OK,
    REFUSED,
    SLOW,
    THRESHOLDS_ONLY,
    WALL,
    WITH_BREAKER,
    Backend,
)

from vmcp.api.category import ErrorCategory
from vmcp.health import tracker
from vmcp.health.breaker import EarlyEnd
from vmcp.health.outcome import Outcome
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.record import Record
from vmcp.health.snapshot import Circuit, Health
from vmcp.health.target import Target


def test_never_checked_is_unknown() -> None:
    assert Backend().snapshot.health is Health.UNKNOWN


@pytest.mark.parametrize(
    ("outcome", "auth", "health"),
    [
        (OK, False, Health.HEALTHY),
        (SLOW, False, Health.DEGRADED),
        (LIMITED, False, Health.DEGRADED),
        (DENIED, False, Health.UNAUTHENTICATED),
        (DENIED, True, Health.HEALTHY),
        (REFUSED, False, Health.UNKNOWN),
        (BUSY, False, Health.UNKNOWN),
        (GIVEN_UP, False, Health.UNKNOWN),
    ],
)
def test_what_a_first_check_makes_of_a_backend(outcome: Outcome, auth: bool, health: Health) -> None:
    assert Backend(auth=auth).checked(outcome).health is health


def test_failures_below_the_threshold_leave_health_as_it_was_and_are_counted() -> None:
    backend = Backend()
    seen = backend.checked(OK, REFUSED, REFUSED)
    assert (seen.health, seen.consecutive_failures) == (Health.HEALTHY, 2)
    assert (seen.category, seen.detail) == (ErrorCategory.CONNECT, "connection refused")
    assert backend.checked(REFUSED).health is Health.UNHEALTHY


def test_without_a_breaker_the_circuit_stays_closed_and_the_next_success_heals() -> None:
    backend = Backend(THRESHOLDS_ONLY)
    seen = backend.checked(*[REFUSED] * 20)
    assert (seen.health, seen.circuit) == (Health.UNHEALTHY, Circuit.CLOSED)
    assert backend.checked(OK).health is Health.HEALTHY


def test_an_open_circuit_is_unhealthy_at_once() -> None:
    eager = replace(WITH_BREAKER, breaker=BreakerPolicy(enabled=True, failure_threshold=1))
    seen = Backend(eager).checked(OK, REFUSED)
    assert (seen.health, seen.circuit) == (Health.UNHEALTHY, Circuit.OPEN)


def test_the_whole_circle() -> None:
    backend = Backend().opened()
    assert backend.due == backend.record.breaker.open_until
    record, transition = tracker.begin(backend.record, WITH_BREAKER, backend.due, WALL + backend.due, 0.5, 10.5)
    half_open = tracker.snapshot_of(record, backend.target)
    assert (half_open.health, half_open.circuit) == (Health.DEGRADED, Circuit.HALF_OPEN)
    assert transition is not None
    assert transition.reason == "open time over"
    seen = backend.checked(OK)
    assert (seen.health, seen.circuit, seen.consecutive_failures) == (Health.DEGRADED, Circuit.CLOSED, 0)
    assert backend.checked(OK).health is Health.HEALTHY
    assert [(step.before, step.after) for step in seen.transitions] == [
        (Circuit.CLOSED, Circuit.OPEN),
        (Circuit.OPEN, Circuit.HALF_OPEN),
        (Circuit.HALF_OPEN, Circuit.CLOSED),
    ]
    assert seen.transitions[0].reason == "5 consecutive failures: connection refused"


def test_a_failed_trial_is_unhealthy_again_and_counts_as_a_reopening() -> None:
    backend = Backend().opened()
    seen = backend.checked(REFUSED)
    assert (seen.health, seen.circuit, seen.reopen_count) == (Health.UNHEALTHY, Circuit.OPEN, 1)
    assert seen.transitions[-1].reason == "trial failed: connection refused"
    assert backend.wait == pytest.approx(120 * 1.05)
    assert seen.open_until == pytest.approx(WALL + backend.due)


def test_open_until_does_not_move_while_the_circuit_is_open() -> None:
    backend = Backend().opened()
    before = backend.snapshot.open_until
    backend.record, _ = tracker.begin(backend.record, WITH_BREAKER, backend.now + 7, WALL + 99, 0.1, 10.5)
    assert backend.snapshot.open_until == before


def test_a_closing_401_is_unauthenticated_not_usable() -> None:
    seen = Backend().opened().checked(DENIED)
    assert (seen.health, seen.circuit) == (Health.UNAUTHENTICATED, Circuit.CLOSED)


def test_a_refused_credential_is_a_success_for_the_breaker() -> None:
    assert Backend().checked(*[REFUSED] * 4, DENIED).consecutive_failures == 0


def test_a_healthy_backend_with_auth_shows_no_error() -> None:
    assert Backend(auth=True).checked(DENIED).category is None


def test_the_first_503_with_retry_after_is_excused_and_the_following_are_not() -> None:
    backend = Backend()
    seen = backend.checked(OK, BUSY)
    assert (seen.health, seen.consecutive_failures) == (Health.HEALTHY, 0)
    assert backend.wait == pytest.approx(20 * 1.05)
    assert backend.checked(BUSY).consecutive_failures == 1
    assert backend.checked(BUSY).consecutive_failures == 2
    assert backend.checked(OK, BUSY).consecutive_failures == 0


def test_retry_after_is_honoured_up_to_five_minutes() -> None:
    backend = Backend()
    backend.checked(replace(BUSY, retry_after_s=86_400.0))
    assert 300 <= backend.wait <= 330
    backend.checked(replace(LIMITED, retry_after_s=86_400.0))
    assert 300 <= backend.wait <= 330


def test_a_cancelled_check_is_nothing() -> None:
    backend = Backend()
    before = backend.checked(OK, REFUSED)
    assert backend.checked(GIVEN_UP) == before


def test_a_cancelled_trial_is_tried_again_soon() -> None:
    backend = Backend().opened()
    assert backend.checked(GIVEN_UP).circuit is Circuit.HALF_OPEN
    assert 2.0 <= backend.wait <= 2.2
    assert backend.checked(OK).circuit is Circuit.CLOSED


@pytest.mark.parametrize(
    ("policy", "outcomes", "wait"),
    [
        (WITH_BREAKER, [OK], 30.0),
        (WITH_BREAKER, [OK, REFUSED], 2.1),
        (WITH_BREAKER, [*[REFUSED] * 4], 2.1),
        (WITH_BREAKER, [*[REFUSED] * 5], 63.0),
        (THRESHOLDS_ONLY, [REFUSED] * 2, 2.1),
        (THRESHOLDS_ONLY, [REFUSED] * 3, 30.0),
        (THRESHOLDS_ONLY, [LIMITED], 126.0),
        (THRESHOLDS_ONLY, [replace(LIMITED, retry_after_s=1.0)], 30.0),
        (THRESHOLDS_ONLY, [replace(BUSY, retry_after_s=1.0)], 2.1),
        (replace(THRESHOLDS_ONLY, fast_interval_s=0.0), [REFUSED], 31.5),
        (replace(THRESHOLDS_ONLY, fast_interval_s=99.0), [REFUSED], 31.5),
        (replace(THRESHOLDS_ONLY, unhealthy_threshold=1), [REFUSED], 30.0),
        (replace(WITH_BREAKER, unhealthy_threshold=9), [*[REFUSED] * 4], 2.1),
    ],
)
def test_when_the_next_check_is_due(policy: HealthPolicy, outcomes: list[Outcome], wait: float) -> None:
    backend = Backend(policy)
    backend.checked(*outcomes)
    assert backend.wait == pytest.approx(wait)


def test_a_hung_backend_with_defaults_is_open_within_65_s_of_its_first_failed_checks_start() -> None:
    backend = Backend()
    backend.checked(*[Outcome(ErrorCategory.TIMEOUT)] * 5, took=10.0)
    assert backend.record.breaker.circuit is Circuit.OPEN
    assert backend.now <= 65.0


def test_a_refusing_backend_with_defaults_is_open_within_12_s_of_its_first_failed_check() -> None:
    assert Backend().opened().now <= 12.0


def test_intervals_are_counted_from_the_due_time() -> None:
    assert tracker.next_due(Record(), THRESHOLDS_ONLY, 100.0, 104.0, 0.5) == pytest.approx(130.0)


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_moves_an_interval_by_a_tenth_at_most(jitter: float) -> None:
    assert 127.0 <= tracker.next_due(Record(), THRESHOLDS_ONLY, 100.0, 100.0, jitter) <= 133.0


@pytest.mark.parametrize("cause", list(EarlyEnd))
def test_an_early_end_says_its_cause(cause: EarlyEnd) -> None:
    backend = Backend().opened()
    record, transition = tracker.end_open_time(backend.record, WITH_BREAKER, cause, 20.0, WALL + 20.0)
    assert transition is not None
    assert (transition.after, transition.reason) == (Circuit.HALF_OPEN, cause.value)
    assert tracker.snapshot_of(record, backend.target).health is Health.DEGRADED


def test_switching_the_breaker_off_closes_it_and_thresholds_decide() -> None:
    record, transition = tracker.adopt(Backend().opened().record, THRESHOLDS_ONLY, 20.0, WALL + 20.0)
    assert transition is not None
    assert (transition.before, transition.after) == (Circuit.OPEN, Circuit.CLOSED)
    assert (record.health, record.open_until_wall) == (Health.UNHEALTHY, None)


def test_another_policy_cuts_no_open_time() -> None:
    record = Backend().opened().record
    shorter = replace(WITH_BREAKER, breaker=replace(WITH_BREAKER.breaker, timeout_s=1.0))
    assert tracker.adopt(record, shorter, 20.0, WALL + 20.0) == (record, None)


def test_a_changed_target_starts_afresh_and_history_says_why() -> None:
    record, transition = tracker.afresh(Backend().opened().record, WALL)
    assert transition is not None
    assert transition.reason == "target changed"
    assert (record.health, record.breaker.failures) == (Health.UNKNOWN, 0)
    assert tracker.afresh(Record(health=Health.HEALTHY), WALL) == (Record(), None)


def test_only_the_last_five_transitions_are_kept() -> None:
    backend = Backend().opened()
    assert len(backend.checked(*[REFUSED] * 9).transitions) == 5


def test_a_backend_that_may_never_be_called_is_unauthenticated_and_says_why() -> None:
    target = Target("search", "http://search/mcp", HealthPolicy(), never_call="xaa is not supported")
    seen = tracker.snapshot_of(Record(health=Health.HEALTHY), target)
    assert (seen.health, seen.detail) == (Health.UNAUTHENTICATED, "xaa is not supported")


def test_the_note_of_a_target_is_part_of_its_message() -> None:
    backend = Backend()
    backend.target = replace(backend.target, note="certificate not verified")
    assert backend.checked(REFUSED).detail == "connection refused; certificate not verified"
    sentence = replace(REFUSED, detail="Connection refused.")
    assert backend.checked(sentence).detail == "Connection refused; certificate not verified"
    assert backend.checked(OK).detail == "certificate not verified"


def test_health_changed_moves_only_with_health() -> None:
    backend = Backend()
    at = backend.checked(OK).health_changed_at
    assert backend.checked(OK, REFUSED).health_changed_at == at
    assert backend.checked(REFUSED, REFUSED).health_changed_at == WALL + backend.now
