"""One backend's entry in `.status.discoveredBackends`, and how its state is told to a person."""

from datetime import UTC, datetime, timedelta
from math import ceil
from urllib.parse import urlsplit

from vmcp.api.category import ErrorCategory
from vmcp.api.status import (
    MAX_TRANSITIONS,
    BackendStatus,
    CircuitState,
    CircuitTransition,
    DiscoveredBackend,
)
from vmcp.health.snapshot import Circuit, Health, Snapshot
from vmcp.status.findings import BackendAuth

MESSAGE_MAX_LENGTH = 512

_STATUS = {
    Health.HEALTHY: BackendStatus.READY,
    Health.DEGRADED: BackendStatus.DEGRADED,
    Health.UNHEALTHY: BackendStatus.UNAVAILABLE,
    Health.UNKNOWN: BackendStatus.UNKNOWN,
    Health.UNAUTHENTICATED: BackendStatus.UNAUTHENTICATED,
}

_PHRASE = {
    ErrorCategory.DNS: "host name not found",
    ErrorCategory.FORBIDDEN: "address not allowed",
    ErrorCategory.CONNECT: "connection failed",
    ErrorCategory.TLS: "TLS failed",
    ErrorCategory.TIMEOUT: "no answer in time",
    ErrorCategory.HTTP_4XX: "refused with HTTP 4xx",
    ErrorCategory.HTTP_5XX: "server error",
    ErrorCategory.REDIRECT: "redirects elsewhere",
    ErrorCategory.RATE_LIMITED: "rate limited",
    ErrorCategory.OVERLOADED: "overloaded",
    ErrorCategory.AUTH_REQUIRED: "authentication required",
    ErrorCategory.PROTOCOL: "answers no MCP",
    ErrorCategory.CANCELLED: "check cancelled",
}


def backend_entry(snapshot: Snapshot, auth: BackendAuth | None) -> DiscoveredBackend:
    """The entry of one backend: nothing secret, no raw error text, the same snapshot gives the same entry."""
    return DiscoveredBackend(
        name=snapshot.name,
        url=shown_url(snapshot.url) or None,
        status=status_of(snapshot),
        message=one_line(snapshot.detail) or None,
        auth_type=auth.type if auth else None,
        auth_config_ref=(auth.config_ref or None) if auth else None,
        last_health_check=to_second(snapshot.last_check_at),
        consecutive_failures=snapshot.consecutive_failures,
        circuit_breaker_state=CircuitState(snapshot.circuit.value),
        circuit_last_changed=to_second(snapshot.circuit_changed_at),
        circuit_open_until=to_millisecond(snapshot.open_until) if snapshot.circuit is Circuit.OPEN else None,
        circuit_reopen_count=snapshot.reopen_count,
        latency_millis=None if snapshot.latency_s is None else max(0, round(snapshot.latency_s * 1000)),
        error_category=snapshot.category,
        mcp_revision=snapshot.mcp_revision or None,
        target_fingerprint=snapshot.fingerprint or None,
        transitions=[
            CircuitTransition(
                time=_millisecond(transition.at),
                before=CircuitState(transition.before.value),
                after=CircuitState(transition.after.value),
                reason=one_line(transition.reason),
            )
            for transition in snapshot.transitions[-MAX_TRANSITIONS:]
        ]
        or None,
    )


def status_of(snapshot: Snapshot) -> BackendStatus:
    """Health as the CR calls it; the circuit wins (design §3 rule 1)."""
    if snapshot.circuit is Circuit.OPEN:
        return BackendStatus.UNAVAILABLE
    if snapshot.circuit is Circuit.HALF_OPEN:
        return BackendStatus.DEGRADED
    return _STATUS[snapshot.health]


def why(snapshot: Snapshot) -> str:
    """The backend's state in a few words that stay the same from check to check."""
    words = [_state(snapshot)]
    if snapshot.category is not None:
        words.append(_PHRASE[snapshot.category])
    return ", ".join(words)


def _state(snapshot: Snapshot) -> str:
    if snapshot.circuit is Circuit.OPEN:
        until = to_millisecond(snapshot.open_until)
        return "circuit open" + (f" until {until:%H:%M:%S}Z" if until else "")
    if snapshot.circuit is Circuit.HALF_OPEN:
        return "circuit half-open"
    return status_of(snapshot).value


def shown_url(url: str) -> str:
    """The URL without userinfo, query and fragment, where secrets are kept; empty when it is no URL."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return ""


def one_line(text: str) -> str:
    """The text on one line and of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_MAX_LENGTH else line[: MESSAGE_MAX_LENGTH - 1] + "…"


def to_second(at: float | None) -> datetime | None:
    """Seconds since the epoch as a time, cut to the second as Kubernetes writes it; None stays None."""
    return None if at is None else datetime.fromtimestamp(int(at), UTC)


def to_millisecond(at: float | None) -> datetime | None:
    """As `to_second`, to the millisecond and never earlier: an open time read back must not end early."""
    return None if at is None else _millisecond(at)


def _millisecond(at: float) -> datetime:
    # Rounded first: such a float is exact to about 0.2 µs, and what was read back must not move up again.
    milliseconds = ceil(round(at * 1000, 2))
    return datetime.fromtimestamp(milliseconds // 1000, UTC) + timedelta(milliseconds=milliseconds % 1000)
