"""Reading a status back, whoever wrote it and whatever is left of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.health.snapshot import Circuit, Health, Transition
from vmcp.status.recall import read_status, recall

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
fields = [
    "url",
    "status",
    "circuitBreakerState",
    "circuitOpenUntil",
    "circuitLastChanged",
    "lastHealthCheck",
    "consecutiveFailures",
    "circuitReopenCount",
    "latencyMillis",
    "errorCategory",
    "transitions",
    "override",
    "message",
]
times = st.sampled_from(["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon"])
entries = st.fixed_dictionaries({"name": st.just("a")}, optional=dict.fromkeys(fields, json_values | times))


@given(st.dictionaries(st.sampled_from(["discoveredBackends", "conditions", "handledRequests", "phase"]), json_values))
def test_anything_can_be_read(status: dict[str, Any]) -> None:
    assert isinstance(recall(status), dict)
    read_status(status)


@given(st.lists(entries, max_size=3))
def test_any_entry_can_be_read(backends: list[Any]) -> None:
    for name, snapshot in recall({"discoveredBackends": backends}).items():
        assert snapshot.name == name != ""


def test_an_open_circuit_is_read_back() -> None:
    recalled = recall(
        {
            "discoveredBackends": [
                {
                    "name": "search",
                    "status": "unavailable",
                    "targetFingerprint": "f1",
                    "circuitBreakerState": "open",
                    "circuitOpenUntil": "2026-11-24T10:00:00.250Z",
                    "circuitReopenCount": 3,
                    "consecutiveFailures": 7,
                    "transitions": [
                        {
                            "time": "2026-11-24T09:00:00.000Z",
                            "from": "half-open",
                            "to": "open",
                            "reason": "failed",
                        }
                    ],
                }
            ]
        }
    )["search"]

    assert (recalled.health, recalled.circuit, recalled.fingerprint) == (Health.UNHEALTHY, Circuit.OPEN, "f1")
    assert (recalled.reopen_count, recalled.consecutive_failures) == (3, 7)
    assert recalled.open_until == 1795514400.25
    assert recalled.transitions == (Transition(1795510800.0, Circuit.HALF_OPEN, Circuit.OPEN, "failed"),)


@pytest.mark.parametrize("broken", [{"circuitOpenUntil": "soon"}, {"errorCategory": "NewOne"}, {"transitions": "none"}])
def test_one_field_that_cannot_be_read_costs_only_itself(broken: dict[str, Any]) -> None:
    entry = {
        "name": "a",
        "status": "unavailable",
        "circuitBreakerState": "open",
        "circuitReopenCount": 2,
        **broken,
    }

    recalled = recall({"discoveredBackends": [entry, "not an entry", {"url": "http://no-name"}]})

    assert list(recalled) == ["a"]
    assert (recalled["a"].circuit, recalled["a"].reopen_count) == (Circuit.OPEN, 2)


def test_an_entry_of_the_older_product_is_no_targets_record() -> None:
    recalled = recall(
        {"discoveredBackends": [{"name": "a", "status": "ready", "lastHealthCheck": "2026-01-01T00:00:00Z"}]}
    )

    assert recalled["a"].fingerprint == ""
    assert recalled["a"].health is Health.HEALTHY


def test_a_phase_that_is_not_ours_does_not_hide_the_conditions() -> None:
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "R",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    status = read_status({"phase": "Terminating", "conditions": [ready]})

    assert status is not None
    assert [condition.type for condition in status.conditions or ()] == ["Ready"]
