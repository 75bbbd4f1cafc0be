"""What is known of a backend at one moment: frozen, made by the tracker, read by status writer and gateway."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from vmcp.api.category import ErrorCategory
from vmcp.api.operational import OverrideMode


class Health(StrEnum):
    """Health of a backend (in the CR: ready, degraded, unavailable, unknown, unauthenticated)."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    UNAUTHENTICATED = "unauthenticated"


class Circuit(StrEnum):
    """State of a backend's circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a circuit. `at` is wall clock, seconds since the epoch."""

    at: float
    before: Circuit
    after: Circuit
    reason: str


@dataclass(frozen=True, slots=True)
class Override:
    """A person's word on the backend that is in force. `since` and `until` are wall clock, seconds since the epoch."""

    mode: OverrideMode
    since: float
    until: float | None = None
    reason: str = ""


_TOLD = {
    OverrideMode.FORCED_OPEN: "forced open",
    OverrideMode.FORCED_CLOSED: "forced closed",
    OverrideMode.DISABLED: "circuit breaker disabled",
}


def told_of(override: Override) -> str:
    """What a person overrules, in a few words that stay the same while it is in force."""
    told = _TOLD[override.mode]
    if override.until is not None:
        told += f" until {datetime.fromtimestamp(override.until, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{told} ({override.reason})" if override.reason else told


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A backend's health and circuit. Times are wall clock, seconds since the epoch.

    Attributes:
        open_until: when an open circuit is tried again; None unless open, and while it is forced open without end.
        reopen_count: how often the circuit has reopened in a row without closing.
        latency_s: of the last answer.
        detail: one sentence for a person.
        transitions: the last few, oldest first.
        override: what a person overrules, None = nothing.
    """

    name: str
    url: str
    fingerprint: str
    health: Health = Health.UNKNOWN
    circuit: Circuit = Circuit.CLOSED
    circuit_changed_at: float | None = None
    open_until: float | None = None
    reopen_count: int = 0
    consecutive_failures: int = 0
    last_check_at: float | None = None
    health_changed_at: float | None = None
    latency_s: float | None = None
    category: ErrorCategory | None = None
    mcp_revision: str = ""
    detail: str = ""
    auth_configured: bool = False
    transitions: tuple[Transition, ...] = ()
    override: Override | None = None


def usable(backend: Snapshot) -> bool:
    """Whether the backend is listed and called (design §3 rules 4, 8)."""
    if backend.override is not None and backend.override.mode is OverrideMode.FORCED_CLOSED:
        return True
    return backend.circuit is Circuit.CLOSED and backend.health in (Health.HEALTHY, Health.DEGRADED, Health.UNKNOWN)


def counted(backend: Snapshot) -> bool:
    """Whether the backend counts as routable in `backendCount` and phase (design §3 rule 4)."""
    return usable(backend) and backend.health is not Health.UNKNOWN
