"""The status of one VirtualMCPServer, a pure function of what is known."""

from collections.abc import Sequence
from datetime import UTC, datetime

from vmcp.api.status import VirtualMCPServerStatus
from vmcp.health.snapshot import Snapshot, counted
from vmcp.status.backends import backend_entry
from vmcp.status.conditions import derived, merged
from vmcp.status.findings import Findings
from vmcp.status.phase import verdict


def document(
    findings: Findings,
    snapshots: Sequence[Snapshot],
    previous: VirtualMCPServerStatus | None,
    now: float,
) -> VirtualMCPServerStatus:
    """The whole status (design §4), as it would be written at `now` (wall clock, seconds since the epoch).

    `previous` gives only the transition times of conditions. Lists are sorted by name.
    """
    snapshots = sorted(snapshots, key=lambda snapshot: snapshot.name)
    moment = datetime.fromtimestamp(int(now), UTC)
    decided = verdict(findings, snapshots)
    conditions = merged(
        derived(findings, snapshots, decided),
        (previous.conditions or ()) if previous else (),
        generation=findings.generation,
        now=moment,
    )
    return VirtualMCPServerStatus(
        phase=decided.phase,
        message=decided.message or None,
        url=findings.url or None,
        backend_count=sum(counted(snapshot) for snapshot in snapshots),
        observed_generation=findings.generation,
        conditions=conditions,
        discovered_backends=[backend_entry(snapshot, findings.auth.get(snapshot.name)) for snapshot in snapshots],
        last_report_time=moment,
        handled_requests=list(findings.handled_requests) or None,
    )
