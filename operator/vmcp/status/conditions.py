"""Conditions: what is found merged with what was written; a transition time moves only with the status."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from vmcp.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from vmcp.api.status import Phase
from vmcp.health.snapshot import Health, Snapshot, usable
from vmcp.status.backends import why
from vmcp.status.findings import Finding, Findings
from vmcp.status.phase import Verdict, named

MESSAGE_MAX_LENGTH = 32768


def merged(
    found: Iterable[Finding], previous: Sequence[Condition], *, generation: int, now: datetime
) -> list[Condition]:
    """The conditions to write, sorted by type; of two findings of one type the later counts."""
    before = {condition.type: condition for condition in previous}
    by_type = {finding.type: finding for finding in found}
    return [_condition(by_type[type_], before.get(type_), generation=generation, now=now) for type_ in sorted(by_type)]


def _condition(finding: Finding, before: Condition | None, *, generation: int, now: datetime) -> Condition:
    status = ConditionStatus.TRUE if finding.status else ConditionStatus.FALSE
    same = before is not None and before.status is status
    return Condition(
        type=str(finding.type),
        status=status,
        reason=str(finding.reason),
        message=finding.message[:MESSAGE_MAX_LENGTH],
        last_transition_time=before.last_transition_time if same and before else now,
        observed_generation=generation,
    )


def derived(findings: Findings, snapshots: Sequence[Snapshot], decided: Verdict) -> list[Finding]:
    """What follows from phase and backends: the conditions that are always present.

    Reconcile's own findings come between: it may know better about all but Ready and Degraded.
    """
    return [
        _backends_discovered(findings, snapshots),
        _stalled(findings),
        _probing_healthy(findings),
        Finding(
            ConditionType.SESSION_STORAGE_WARNING,
            False,
            Reason.SESSION_STORAGE_NOT_APPLICABLE,
            "sessions need no shared storage",
        ),
        *findings.conditions,
        Finding(ConditionType.READY, decided.phase is Phase.READY, decided.reason, decided.message),
        _degraded(snapshots),
    ]


def _degraded(snapshots: Sequence[Snapshot]) -> Finding:
    # Wider than phase Degraded: a backend that is slow is still called, and the object Ready.
    impaired = [
        f"{snapshot.name} ({why(snapshot)})"
        for snapshot in snapshots
        if snapshot.health not in (Health.HEALTHY, Health.UNKNOWN) or not usable(snapshot)
    ]
    if impaired:
        return Finding(ConditionType.DEGRADED, True, Reason.BACKENDS_DEGRADED, f"not healthy: {named(impaired)}")
    return Finding(ConditionType.DEGRADED, False, Reason.ALL_BACKENDS_HEALTHY, "no backend is known to be impaired")


def _backends_discovered(findings: Findings, snapshots: Sequence[Snapshot]) -> Finding:
    if findings.blocked is not None:
        return Finding(ConditionType.BACKENDS_DISCOVERED, False, findings.blocked.reason, findings.blocked.message)
    found = "1 backend" if len(snapshots) == 1 else f"{len(snapshots)} backends"
    return Finding(ConditionType.BACKENDS_DISCOVERED, True, Reason.BACKENDS_DISCOVERED, found)


def _stalled(findings: Findings) -> Finding:
    if findings.blocked is not None and findings.blocked.phase is Phase.FAILED:
        return Finding(ConditionType.STALLED, True, Reason.NEEDS_ATTENTION, findings.blocked.message)
    return Finding(ConditionType.STALLED, False, Reason.PROGRESSING, "nothing waits for a person")


def _probing_healthy(findings: Findings) -> Finding:
    if findings.doubted:
        message = (
            "over half of all backends began to fail at once by dns, connect or timeout: the operator's own network "
            "is the likelier cause; such failures change no state for now, checks go on"
        )
        return Finding(ConditionType.PROBING_HEALTHY, False, Reason.PROBES_DOUBTED, message)
    return Finding(ConditionType.PROBING_HEALTHY, True, Reason.PROBES_TRUSTED, "what checks show is believed")
