"""What is known of a backend at one moment: frozen, made by the tracker, read by status writer and gateway."""

from dataclasses import dataclass
from enum import StrEnum

from vmcp.api.category import ErrorCategory


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
class Snapshot:
    """A backend's health and circuit. Times are wall clock, seconds since the epoch.

    Attributes:
        open_until: when an open circuit is tried again; None unless open.
        reopen_count: how often the circuit has reopened in a row without closing.
        latency_s: of the last answer.
        detail: one sentence for a person.
        transitions: the last few, oldest first.
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


def usable(health: Health, circuit: Circuit) -> bool:
    """Whether the backend is listed and called (design §3 rule 4)."""
    return circuit is Circuit.CLOSED and health in (Health.HEALTHY, Health.DEGRADED, Health.UNKNOWN)


def counted(health: Health, circuit: Circuit) -> bool:
    """Whether the backend counts as routable in `backendCount` and phase (design §3 rule 4)."""
    return usable(health, circuit) and health is not Health.UNKNOWN
