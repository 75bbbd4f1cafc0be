"""Phase and Ready: the table of design §4, first row that fits."""

from collections.abc import Sequence
from dataclasses import dataclass

from vmcp.api.conditions import Reason
from vmcp.api.status import Phase
from vmcp.health.snapshot import Health, Snapshot, counted
from vmcp.status.backends import why
from vmcp.status.findings import DeploymentState, Findings

NAMED_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """The phase, and the reason and message of Ready that go with it. Ready is True in phase Ready only."""

    phase: Phase
    reason: str
    message: str


def verdict(findings: Findings, snapshots: Sequence[Snapshot]) -> Verdict:
    """The first row that fits. `snapshots` are sorted by name."""
    if findings.blocked is not None:
        return Verdict(findings.blocked.phase, findings.blocked.reason, findings.blocked.message)
    if findings.deployment is DeploymentState.FAILED:
        message = findings.deployment_message or "the gateway's pods fail"
        return Verdict(Phase.FAILED, Reason.DEPLOYMENT_FAILED, message)
    if findings.deployment is not DeploymentState.AVAILABLE:
        message = findings.deployment_message or "the gateway's Deployment is not available yet"
        return Verdict(Phase.PENDING, Reason.DEPLOYMENT_NOT_READY, message)
    if not snapshots:
        return Verdict(Phase.READY, Reason.ALL_BACKENDS_ROUTABLE, "no backends")
    # Not checked yet decides nothing beside others: a new member's first check never flips a Ready object.
    known = [snapshot for snapshot in snapshots if snapshot.health is not Health.UNKNOWN]
    message = _tally(snapshots)
    if not known:
        return Verdict(Phase.PENDING, Reason.BACKENDS_PENDING, message)
    routable = sum(counted(snapshot) for snapshot in known)
    if routable == len(known):
        return Verdict(Phase.READY, Reason.ALL_BACKENDS_ROUTABLE, message)
    if routable == 0:
        return Verdict(Phase.FAILED, Reason.NO_ROUTABLE_BACKENDS, message)
    return Verdict(Phase.DEGRADED, Reason.SOME_BACKENDS_UNHEALTHY, message)


def _tally(snapshots: Sequence[Snapshot]) -> str:
    routable = [snapshot for snapshot in snapshots if counted(snapshot)]
    unchecked = [snapshot.name for snapshot in snapshots if snapshot.health is Health.UNKNOWN]
    out = [
        f"{snapshot.name} ({why(snapshot)})"
        for snapshot in snapshots
        if snapshot.health is not Health.UNKNOWN and not counted(snapshot)
    ]
    noun = "backend" if len(snapshots) == 1 else "backends"
    parts = [f"{len(routable)} of {len(snapshots)} {noun} routable"]
    if out:
        parts.append(f"out: {named(out)}")
    if unchecked:
        parts.append(f"not checked yet: {named(unchecked)}")
    return "; ".join(parts)


def named(names: Sequence[str]) -> str:
    """The names as a list for a person, the many cut off by their number."""
    rest = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
