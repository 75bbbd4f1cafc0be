"""What is worth a write of the status (design §4); everything else rides along or waits for the heartbeat."""

from datetime import datetime

from vmcp.api.conditions import Condition
from vmcp.api.duration import parse_duration
from vmcp.api.status import DiscoveredBackend, VirtualMCPServerStatus
from vmcp.health.snapshot import Circuit, Snapshot, Transition

HEARTBEAT_S = 300.0
COMPATIBLE_DEFAULT_S = 30.0
TRIAL_S = 0.3
"""Most trials are over within this."""

# An open time is kept on a monotonic clock and shown on the wall clock: read back, it may be a hair off.
_OPEN_UNTIL_TOLERANCE_S = 1.0


def has_news(before: VirtualMCPServerStatus | None, after: VirtualMCPServerStatus) -> bool:
    """Whether `after` says something that a reader of `before` must know at once."""
    if before is None:
        return True
    return (
        before.phase is not after.phase
        or before.url != after.url
        or before.observed_generation != after.observed_generation
        or (before.handled_requests or []) != (after.handled_requests or [])
        or _conditions(before) != _conditions(after)
        or _backends_have_news(before.discovered_backends or [], after.discovered_backends or [])
    )


def is_urgent(before: Snapshot, after: Snapshot) -> bool:
    """Whether a backend's change can be news at all: a change that is not needs no report to the writer."""
    return (
        before.health is not after.health
        or before.circuit is not after.circuit
        or before.open_until != after.open_until
        or before.category is not after.category
        or before.mcp_revision != after.mcp_revision
        or before.fingerprint != after.fingerprint
        or before.override != after.override
    )


def may_wait_s(transition: Transition | None) -> float:
    """How long the write of a change may wait, in seconds.

    A write is followed by a second of silence. Written at once, a half-open would delay by that second the news that
    its trial succeeded, and with it the return of the backend.
    """
    return TRIAL_S if transition is not None and transition.after is Circuit.HALF_OPEN else 0.0


def heartbeat_of(status_reporting_interval: str | None) -> float:
    """The longest silence of a status, in seconds, from `failureHandling.statusReportingInterval`.

    30s equals unset, since stored objects carry it as the compatible default; what is no positive duration
    counts as unset, too.
    """
    try:
        seconds = parse_duration(status_reporting_interval or "")
    except ValueError:
        return HEARTBEAT_S
    return HEARTBEAT_S if seconds in (0.0, COMPATIBLE_DEFAULT_S) else seconds


def _conditions(status: VirtualMCPServerStatus) -> list[tuple[str, str, str]]:
    return sorted(_essence(condition) for condition in status.conditions or ())


def _essence(condition: Condition) -> tuple[str, str, str]:
    return condition.type, condition.status, condition.reason


def _backends_have_news(before: list[DiscoveredBackend], after: list[DiscoveredBackend]) -> bool:
    known = {backend.name: backend for backend in before}
    if len(known) != len(after):
        return True
    return any(backend.name not in known or _backend_has_news(known[backend.name], backend) for backend in after)


def _backend_has_news(before: DiscoveredBackend, after: DiscoveredBackend) -> bool:
    return (
        before.status != after.status
        or before.url != after.url
        or before.circuit_breaker_state != after.circuit_breaker_state
        or before.error_category != after.error_category
        or before.mcp_revision != after.mcp_revision
        or before.target_fingerprint != after.target_fingerprint
        or before.override != after.override
        or _moved(before.circuit_open_until, after.circuit_open_until)
    )


def _moved(before: datetime | None, after: datetime | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs((after - before).total_seconds()) >= _OPEN_UNTIL_TOLERANCE_S
