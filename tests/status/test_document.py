"""The status document: a pure function of findings, snapshots and what was written before."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.api.category import ErrorCategory
from vmcp.api.conditions import Condition, ConditionType, Reason
from vmcp.api.status import Phase, VirtualMCPServerStatus
from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition, counted
from vmcp.status.document import document
from vmcp.status.findings import BackendAuth, Blocked, DeploymentState, Finding, Findings
from vmcp.status.news import has_news
from vmcp.status.recall import read_status, recall

NOW = 1_790_000_000.75
FOUND = Findings(
    namespace="ns",
    name="gate",
    uid="u1",
    generation=3,
    url="http://vmcp-gate.ns.svc.cluster.local:4483",
    deployment=DeploymentState.AVAILABLE,
)


def backend(name: str, health: Health = Health.HEALTHY, circuit: Circuit = Circuit.CLOSED, **more: object) -> Snapshot:
    snapshot = Snapshot(name=name, url=f"http://{name}.ns.svc:8080/mcp", fingerprint=f"f-{name}")
    return replace(snapshot, health=health, circuit=circuit, **more)  # type: ignore[arg-type]


def condition(status: VirtualMCPServerStatus, type_: str) -> Condition:
    (found,) = [condition for condition in status.conditions or () if condition.type == type_]
    return found


HEALTHY = backend("a")
OPEN = backend(
    "b",
    Health.UNHEALTHY,
    Circuit.OPEN,
    open_until=NOW + 60,
    category=ErrorCategory.CONNECT,
    consecutive_failures=5,
)
HALF_OPEN = backend("c", Health.DEGRADED, Circuit.HALF_OPEN)
UNKNOWN = backend("d", Health.UNKNOWN)
UNAUTHENTICATED = backend("e", Health.UNAUTHENTICATED)
SLOW = backend("f", Health.DEGRADED)
UNHEALTHY = backend("g", Health.UNHEALTHY)
INVALID = Blocked(Phase.FAILED, Reason.VALIDATION_FAILED, "spec.config: must be fixed")
GROUP_PENDING = Blocked(Phase.PENDING, Reason.GROUP_REF_NOT_READY, "group g is Pending")


@pytest.mark.parametrize(
    ("change", "backends", "phase", "reason"),
    [
        ({"blocked": INVALID, "deployment": DeploymentState.FAILED}, [HEALTHY], "Failed", "ValidationFailed"),
        ({"blocked": GROUP_PENDING}, [HEALTHY], "Pending", "GroupRefNotReady"),
        ({"deployment": DeploymentState.UNAVAILABLE}, [HEALTHY], "Pending", "DeploymentNotReady"),
        ({"deployment": DeploymentState.UNAVAILABLE}, [], "Pending", "DeploymentNotReady"),
        ({"deployment": DeploymentState.FAILED}, [HEALTHY], "Failed", "DeploymentFailed"),
        ({}, [], "Ready", "AllBackendsRoutable"),
        ({}, [UNKNOWN], "Pending", "BackendsPending"),
        ({}, [HEALTHY], "Ready", "AllBackendsRoutable"),
        ({}, [HEALTHY, SLOW], "Ready", "AllBackendsRoutable"),
        ({}, [HEALTHY, UNKNOWN], "Ready", "AllBackendsRoutable"),
        ({}, [HEALTHY, OPEN], "Degraded", "SomeBackendsUnhealthy"),
        ({}, [HEALTHY, HALF_OPEN], "Degraded", "SomeBackendsUnhealthy"),
        ({}, [HEALTHY, UNAUTHENTICATED], "Degraded", "SomeBackendsUnhealthy"),
        ({}, [HEALTHY, UNHEALTHY, UNKNOWN], "Degraded", "SomeBackendsUnhealthy"),
        ({}, [OPEN], "Failed", "NoRoutableBackends"),
        ({}, [OPEN, UNKNOWN], "Failed", "NoRoutableBackends"),
        ({}, [HALF_OPEN, UNAUTHENTICATED, UNHEALTHY], "Failed", "NoRoutableBackends"),
    ],
)
def test_phase_is_the_first_row_that_fits(
    change: dict[str, object], backends: list[Snapshot], phase: str, reason: str
) -> None:
    status = document(replace(FOUND, **change), backends, None, NOW)  # type: ignore[arg-type]

    ready = condition(status, "Ready")
    assert (status.phase, ready.reason) == (phase, reason)
    assert ready.status == ("True" if phase == "Ready" else "False")
    assert status.message == ready.message


def test_a_new_members_first_check_never_flips_a_ready_object() -> None:
    before = document(FOUND, [HEALTHY], None, NOW)

    during = document(FOUND, [HEALTHY, UNKNOWN], before, NOW + 60)
    after = document(FOUND, [HEALTHY, replace(UNKNOWN, health=Health.HEALTHY)], during, NOW + 61)

    assert [status.phase for status in (before, during, after)] == ["Ready"] * 3
    assert condition(after, "Ready").last_transition_time == condition(before, "Ready").last_transition_time
    assert condition(during, "Ready").message == "1 of 2 backends routable; not checked yet: d"


def test_ready_says_what_is_out_in_words_that_stay_the_same() -> None:
    out = replace(OPEN, open_until=datetime(2026, 11, 24, 10, 4, 5, tzinfo=UTC).timestamp())

    first = document(FOUND, [HEALTHY, out, UNAUTHENTICATED], None, NOW)
    later = document(FOUND, [HEALTHY, replace(out, consecutive_failures=9), UNAUTHENTICATED], first, NOW + 30)

    assert condition(first, "Ready").message == (
        "1 of 3 backends routable; out: b (circuit open until 10:04:05Z, connection failed), e (unauthenticated)"
    )
    assert condition(later, "Ready").message == condition(first, "Ready").message


def test_a_message_names_ten_backends_at_most() -> None:
    many = [backend(f"b{number:03}", Health.UNHEALTHY) for number in range(200)]

    assert condition(document(FOUND, many, None, NOW), "Ready").message.endswith("b009 (unavailable) and 190 more")


def test_conditions_that_are_always_present() -> None:
    quiet = document(FOUND, [HEALTHY], None, NOW)
    stuck = document(replace(FOUND, blocked=INVALID), [], quiet, NOW)

    for type_, before, after in [
        ("Degraded", "False", "False"),
        ("SessionStorageWarning", "False", "False"),
        ("Stalled", "False", "True"),
        ("BackendsDiscovered", "True", "False"),
    ]:
        assert (condition(quiet, type_).status, condition(stuck, type_).status) == (before, after), type_


def test_a_slow_backend_makes_degraded_true_and_leaves_the_object_ready() -> None:
    status = document(FOUND, [HEALTHY, SLOW], None, NOW)

    assert condition(status, "Degraded").status == "True"
    assert condition(status, "Ready").status == "True"


def test_reconcile_knows_better_about_all_but_ready_and_degraded() -> None:
    findings = replace(
        FOUND,
        conditions=(
            Finding(ConditionType.SESSION_STORAGE_WARNING, True, "SessionStorageMissingForReplicas", "not shared"),
            Finding("BackendAuthConfig-a", True, "Valid", "fine"),
            Finding(ConditionType.READY, False, "Wrong", "not for reconcile to say"),
        ),
    )

    status = document(findings, [HEALTHY], None, NOW)

    assert condition(status, "SessionStorageWarning").status == "True"
    assert condition(status, "BackendAuthConfig-a").observed_generation == 3
    assert condition(status, "Ready").status == "True"


def test_transition_time_moves_only_with_the_status() -> None:
    ready = document(FOUND, [HEALTHY], None, NOW)
    still = document(replace(FOUND, generation=4), [], ready, NOW + 100)
    pending = document(replace(FOUND, blocked=GROUP_PENDING), [HEALTHY], still, NOW + 200)
    failed = document(replace(FOUND, blocked=INVALID), [HEALTHY], pending, NOW + 300)

    moments = [condition(status, "Ready").last_transition_time for status in (ready, still, pending, failed)]
    assert [moment.timestamp() - int(NOW) for moment in moments] == [0, 0, 200, 200]
    assert {condition.observed_generation for condition in still.conditions or ()} == {4}


def test_nothing_secret_is_shown() -> None:
    secret = replace(HEALTHY, url="https://user:hunter2@a.example:8443/mcp?token=hunter2#hunter2", detail="x\ny " * 900)

    (entry,) = document(FOUND, [secret], None, NOW).discovered_backends or ()

    assert entry.url == "https://a.example:8443/mcp"
    assert entry.message is not None
    assert "\n" not in entry.message
    assert len(entry.message) <= 512


def test_an_entry_has_the_compatible_fields_and_ours() -> None:
    known = replace(
        OPEN,
        circuit_changed_at=NOW - 1,
        last_check_at=NOW - 2,
        latency_s=0.0421,
        reopen_count=2,
        mcp_revision="2025-11-25",
        detail="connection refused",
        transitions=tuple(Transition(NOW - at, Circuit.CLOSED, Circuit.OPEN, "5 failures") for at in range(9, 2, -1)),
    )
    status = document(replace(FOUND, auth={"b": BackendAuth("headerInjection", "keys")}), [known], None, NOW)

    entry = status.model_dump(mode="json", by_alias=True, exclude_none=True)["discoveredBackends"][0]
    transitions = entry.pop("transitions")
    assert len(transitions) == 5
    assert transitions[-1] == {
        "time": "2026-09-21T14:13:17.750Z",
        "from": "closed",
        "to": "open",
        "reason": "5 failures",
    }
    assert entry == {
        "name": "b",
        "url": "http://b.ns.svc:8080/mcp",
        "status": "unavailable",
        "message": "connection refused",
        "authType": "headerInjection",
        "authConfigRef": "keys",
        "lastHealthCheck": "2026-09-21T14:13:18Z",
        "consecutiveFailures": 5,
        "circuitBreakerState": "open",
        "circuitLastChanged": "2026-09-21T14:13:19Z",
        "circuitOpenUntil": "2026-09-21T14:14:20.750Z",
        "circuitReopenCount": 2,
        "latencyMillis": 42,
        "errorCategory": "connect",
        "mcpRevision": "2025-11-25",
        "targetFingerprint": "f-b",
    }


times = st.none() | st.floats(1_600_000_000, 2_000_000_000)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)


@st.composite
def snapshots(draw: st.DrawFn, name: str = "a") -> Snapshot:
    """Anything a tracker could say."""
    circuit = draw(st.sampled_from(Circuit))
    forced = {Circuit.OPEN: Health.UNHEALTHY, Circuit.HALF_OPEN: Health.DEGRADED}.get(circuit)
    return Snapshot(
        name=name,
        url=f"http://{name}:8080/mcp",
        fingerprint=draw(st.sampled_from(["f1", "f2"])),
        health=forced or draw(st.sampled_from(Health)),
        circuit=circuit,
        circuit_changed_at=draw(times),
        open_until=draw(st.floats(1_600_000_000, 2_000_000_000)) if circuit is Circuit.OPEN else None,
        reopen_count=draw(st.integers(0, 1000)),
        consecutive_failures=draw(st.integers(0, 10**6)),
        last_check_at=draw(times),
        latency_s=draw(st.none() | st.floats(0, 600)),
        category=draw(st.none() | st.sampled_from(ErrorCategory)),
        mcp_revision=draw(st.sampled_from(["", "2025-11-25"])),
        detail=draw(texts),
        transitions=tuple(
            draw(
                st.lists(
                    st.builds(
                        Transition,
                        at=st.floats(1_600_000_000, 2_000_000_000),
                        before=st.sampled_from(Circuit),
                        after=st.sampled_from(Circuit),
                        reason=texts,
                    ),
                    max_size=7,
                )
            )
        ),
    )


fleets = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6).flatmap(
    lambda names: st.tuples(*(snapshots(name) for name in names))
)


@given(fleets, fleets, st.permutations(range(6)))
def test_the_document_is_deterministic_sorted_and_counts_what_is_routable(
    before: tuple[Snapshot, ...], fleet: tuple[Snapshot, ...], order: list[int]
) -> None:
    previous = document(FOUND, before, None, NOW - 10)
    shuffled = [fleet[index] for index in order if index < len(fleet)]

    status = document(FOUND, fleet, previous, NOW)

    assert document(FOUND, shuffled, previous, NOW) == status
    names = [entry.name for entry in status.discovered_backends or ()]
    types = [condition.type for condition in status.conditions or ()]
    assert names == sorted(names)
    assert types == sorted(set(types))
    assert status.backend_count == sum(counted(snapshot) for snapshot in fleet)


@given(fleets)
def test_what_is_read_back_makes_the_same_document(fleet: tuple[Snapshot, ...]) -> None:
    """Rule 9: a restart changes nothing, not even a text."""
    written = document(FOUND, fleet, None, NOW)
    stored = written.model_dump(mode="json", by_alias=True, exclude_none=True)

    recalled = recall(stored)
    again = document(FOUND, list(recalled.values()), read_status(stored), NOW)

    assert not has_news(read_status(stored), again)
    assert again == written
    for snapshot in fleet:
        if snapshot.open_until is not None:
            # Cut at 10 µs before it is rounded up, since floats of that size are not exact.
            assert -1e-5 <= (recalled[snapshot.name].open_until or 0) - snapshot.open_until < 0.0011


@pytest.mark.parametrize("category", ErrorCategory)
def test_every_category_has_words_for_a_person(category: ErrorCategory) -> None:
    status = document(FOUND, [replace(UNHEALTHY, category=category)], None, NOW)

    message = condition(status, "Ready").message
    assert message.startswith("0 of 1 backend routable; out: g (unavailable, ")
    assert "_" not in message
