"""What is worth a write of the status, and what only rides along."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.api.category import ErrorCategory
from vmcp.api.status import Phase
from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition
from vmcp.status.document import document
from vmcp.status.findings import Blocked, DeploymentState, Finding, Findings
from vmcp.status.news import has_news, heartbeat_of, is_urgent, may_wait_s

NOW = 1_790_000_000.0
FOUND = Findings("ns", "gate", "u1", 3, url="http://gate", deployment=DeploymentState.AVAILABLE)
SNAPSHOT = Snapshot("a", "http://a/mcp", "f1", Health.HEALTHY)
OPEN = replace(SNAPSHOT, health=Health.UNHEALTHY, circuit=Circuit.OPEN, open_until=NOW + 60)
UNMOVED = document(FOUND, [SNAPSHOT], None, NOW)

Change = Callable[[Snapshot], Snapshot]


def test_the_first_status_is_news() -> None:
    assert has_news(None, UNMOVED)


@pytest.mark.parametrize(
    "after",
    [
        replace(SNAPSHOT, health=Health.DEGRADED),
        OPEN,
        replace(SNAPSHOT, category=ErrorCategory.TIMEOUT),
        replace(SNAPSHOT, mcp_revision="2026-07-28"),
        replace(SNAPSHOT, fingerprint="f2"),
    ],
)
def test_a_change_of_a_backend_that_readers_act_on_is_news(after: Snapshot) -> None:
    assert has_news(UNMOVED, document(FOUND, [after], UNMOVED, NOW))
    assert is_urgent(SNAPSHOT, after)


def test_another_end_of_the_open_time_is_news_and_a_rounding_of_it_is_not() -> None:
    before = document(FOUND, [OPEN], None, NOW)

    assert has_news(before, document(FOUND, [replace(OPEN, open_until=NOW + 120)], before, NOW))
    assert not has_news(before, document(FOUND, [replace(OPEN, open_until=NOW + 60.01)], before, NOW))


@pytest.mark.parametrize(
    "findings",
    [
        replace(FOUND, generation=4),
        replace(FOUND, url="http://elsewhere"),
        replace(FOUND, deployment=DeploymentState.FAILED),
        replace(FOUND, blocked=Blocked(Phase.PENDING, "GroupRefNotReady", "wait")),
        replace(FOUND, conditions=(Finding("Valid", True, "ValidationSucceeded", ""),)),
    ],
)
def test_a_change_of_what_reconcile_found_is_news(findings: Findings) -> None:
    assert has_news(UNMOVED, document(findings, [SNAPSHOT], UNMOVED, NOW))


def test_another_reason_of_a_condition_is_news_and_another_text_is_not() -> None:
    def found(reason: str, message: str) -> Findings:
        return replace(FOUND, conditions=(Finding("Valid", False, reason, message),))

    before = document(found("ValidationFailed", "first"), [], None, NOW)

    assert has_news(before, document(found("NotSupported", "first"), [], before, NOW))
    assert not has_news(before, document(found("ValidationFailed", "second"), [], before, NOW))


def test_the_set_of_backends_is_news() -> None:
    other = replace(SNAPSHOT, name="b")

    for backends in ([], [SNAPSHOT, other], [other]):
        assert has_news(UNMOVED, document(FOUND, backends, UNMOVED, NOW))


@given(
    st.builds(
        replace,
        st.just(SNAPSHOT),
        last_check_at=st.none() | st.floats(0, 2e9),
        consecutive_failures=st.integers(0, 1000),
        latency_s=st.none() | st.floats(0, 100),
        detail=st.sampled_from(["", "connection refused", "answers slower than 5s"]),
        transitions=st.just((Transition(NOW, Circuit.HALF_OPEN, Circuit.CLOSED, "trial succeeded"),)),
    ),
    st.floats(0, 1e6),
)
def test_what_rides_along_is_no_news(after: Snapshot, later_s: float) -> None:
    assert not has_news(UNMOVED, document(FOUND, [after], UNMOVED, NOW + later_s))
    assert not is_urgent(SNAPSHOT, after)


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [
        (None, 300.0),
        ("", 300.0),
        ("30s", 300.0),
        ("0.5m", 300.0),
        ("0s", 300.0),
        ("soon", 300.0),
        ("-5s", 300.0),
        ("29s", 29.0),
        ("1m", 60.0),
        ("1h", 3600.0),
    ],
)
def test_the_compatible_default_of_30s_equals_unset(interval: str | None, seconds: float) -> None:
    assert heartbeat_of(interval) == seconds


def test_a_half_open_waits_a_moment_for_the_result_of_its_trial_and_nothing_else_waits() -> None:
    half_open = Transition(0.0, Circuit.OPEN, Circuit.HALF_OPEN, "open time over")
    closed = Transition(0.0, Circuit.HALF_OPEN, Circuit.CLOSED, "trial succeeded")
    assert 0 < may_wait_s(half_open) < 1
    assert may_wait_s(closed) == may_wait_s(None) == 0
