"""What the writer keeps of one object: versions that only go forward, heartbeats that are spread and never late."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.api.status import Phase, VirtualMCPServerStatus
from vmcp.status.slot import MAX_SPREAD_S, Slot

WALL = 1_790_000_000.0


def obj(version: str, phase: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "status": {"phase": phase}}


def slot(share: float = 1.0, spread: float = 0.0) -> Slot:
    return Slot("u1", share, spread, created_at=0.0)


def reported(at: float) -> VirtualMCPServerStatus:
    return VirtualMCPServerStatus(last_report_time=datetime.fromtimestamp(at, UTC))


@pytest.mark.parametrize("late", ["9", "10", ""])
def test_an_object_that_is_older_than_what_is_known_changes_nothing(late: str) -> None:
    known = slot()
    known.observe(obj("10", "Ready"))

    assert not known.observe(obj(late, "Failed"))
    assert known.stored is not None
    assert (known.stored.phase, known.version) == (Phase.READY, "10")


def test_what_another_hand_changed_is_news() -> None:
    known = slot()
    assert not known.observe(obj("9", "Ready"))
    assert known.observe(obj("10", "Failed"))


def test_what_was_reread_counts_though_its_version_went_back() -> None:
    restored = slot()
    restored.observe(obj("1000", "Ready"))

    restored.observe(obj("10", "Failed"), reread=True)

    assert restored.version == "10"


def test_an_answer_that_was_overtaken_does_not_hide_what_came_after() -> None:
    overtaken = slot()
    overtaken.observe(obj("12", "Failed"))

    overtaken.written(obj("11", "Ready"), VirtualMCPServerStatus(phase=Phase.READY))

    assert overtaken.version == "12"
    assert overtaken.stored is not None
    assert overtaken.stored.phase is Phase.FAILED


@given(st.floats(0.8, 1.0), st.floats(1.0, 86400.0), st.floats(0.0, 86400.0))
def test_no_status_gets_older_than_its_heartbeat(share: float, heartbeat_s: float, age: float) -> None:
    known = slot(share)
    known.stored = reported(WALL - age)

    wait = known.beat_in(heartbeat_s, now=100.0, wall=WALL)

    assert age + max(0.0, wait) <= max(age, heartbeat_s) + 1e-6
    # A report time is stored to the microsecond.
    assert wait <= 1e-5 or age < heartbeat_s


def test_a_report_time_in_the_future_is_no_reason_for_silence() -> None:
    known = slot()
    known.stored = reported(WALL + 1e6)

    assert known.beat_in(300.0, now=100.0, wall=WALL) == 300.0


@given(st.floats(0.0, 1.0))
def test_heartbeats_overdue_at_start_are_spread(spread: float) -> None:
    known = slot(spread=spread)
    known.stored = reported(WALL - 1e6)

    assert known.beat_in(300.0, now=0.0, wall=WALL) == pytest.approx(spread * MAX_SPREAD_S)
