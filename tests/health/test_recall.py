from dataclasses import replace

import pytest
from tests.health.checked import OK, REFUSED, THRESHOLDS_ONLY, WALL, WITH_BREAKER, Backend

from vmcp.health import tracker
from vmcp.health.policy import HealthPolicy
from vmcp.health.record import Record
from vmcp.health.snapshot import Circuit, Health, Snapshot


def recalled(snapshot: Snapshot, *, policy: HealthPolicy = WITH_BREAKER, wall: float) -> Record:
    return tracker.recall(snapshot, policy, 5.0, wall)


def test_a_restart_changes_nothing() -> None:
    backend = Backend().opened()
    backend.checked(REFUSED)
    before = backend.snapshot
    record = recalled(before, wall=WALL + backend.now + 30)
    assert tracker.snapshot_of(record, backend.target) == before
    assert record.breaker.open_until == pytest.approx(5.0 + backend.wait - 30)


def test_what_was_added_to_a_message_is_told_once_after_a_restart_until_a_check_says_otherwise() -> None:
    backend = Backend()
    backend.target = replace(backend.target, note="certificate not verified")
    backend.checked(REFUSED)
    before = tracker.snapshot_of(backend.record, backend.target, tracker.REACHABLE_ELSEWHERE)
    backend.record = recalled(before, wall=WALL)
    assert backend.snapshot == before
    assert tracker.snapshot_of(backend.record, backend.target, tracker.REACHABLE_ELSEWHERE) == before
    assert backend.checked(OK).detail == "certificate not verified"


@pytest.mark.parametrize(("clock_error_s", "left"), [(-86_400.0, 66.0), (86_400.0, 0.0), (61.0, 2.0), (0.0, 63.0)])
def test_what_is_left_of_an_open_time_is_clamped(clock_error_s: float, left: float) -> None:
    backend = Backend().opened()
    record = recalled(backend.snapshot, wall=WALL + backend.now + clock_error_s)
    assert record.breaker.open_until - 5.0 == pytest.approx(left)


def test_an_open_circuit_without_an_end_is_tried_at_once() -> None:
    foreign = Snapshot("search", "", "f", Health.UNHEALTHY, Circuit.OPEN)
    assert recalled(foreign, wall=WALL).breaker.open_until == 5.0


def test_a_trial_cut_off_by_a_restart_is_begun_again() -> None:
    foreign = Snapshot("search", "", "f", Health.HEALTHY, Circuit.HALF_OPEN, reopen_count=3)
    record = recalled(foreign, wall=WALL)
    assert (record.health, record.breaker.circuit) == (Health.DEGRADED, Circuit.HALF_OPEN)
    assert tracker.begin(record, WITH_BREAKER, 5.0, WALL, 0.5, 10.5)[0].breaker.trial_until == 15.5


def test_failures_counted_before_a_restart_still_count() -> None:
    backend = Backend()
    backend.record = recalled(backend.checked(*[REFUSED] * 4), wall=WALL)
    assert backend.checked(REFUSED).circuit is Circuit.OPEN


def test_a_breaker_switched_off_meanwhile_is_recalled_closed() -> None:
    record = recalled(Backend().opened().snapshot, policy=THRESHOLDS_ONLY, wall=WALL)
    assert (record.breaker.circuit, record.health) == (Circuit.CLOSED, Health.UNHEALTHY)


def test_trials_that_succeeded_before_a_restart_are_asked_for_again() -> None:
    careful = replace(WITH_BREAKER, breaker=replace(WITH_BREAKER.breaker, success_threshold=2))
    backend = Backend(careful).opened()
    backend.record = recalled(backend.checked(OK), policy=careful, wall=WALL)
    assert backend.checked(OK).circuit is Circuit.HALF_OPEN
    assert backend.checked(OK).circuit is Circuit.CLOSED
