"""One backend's entry in `.status.discoveredBackends`, and how its state is told to a person."""

from datetime import UTC, datetime, timedelta
from math import ceil
from urllib.parse import urlsplit

from vmcp.api.operational import OverrideMode
from vmcp.api.status import (
    MAX_TRANSITIONS,
    BackendStatus,
    CircuitState,
    CircuitTransition,
    DiscoveredBackend,
    OverrideStatus,
)
from vmcp.health.outcome import MEANINGS
from vmcp.health.snapshot import Circuit, Health, Snapshot, told_of
from vmcp.status.findings import BackendAuth

MESSAGE_MAX_LENGTH = 512

_STATUS = {
    Health.HEALTHY: BackendStatus.READY,
    Health.DEGRADED: BackendStatus.DEGRADED,
    Health.UNHEALTHY: BackendStatus.UNAVAILABLE,
    Health.UNKNOWN: BackendStatus.UNKNOWN,
    Health.UNAUTHENTICATED: BackendStatus.UNAUTHENTICATED,
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
        override=_override(snapshot),
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
        words.append(MEANINGS[snapshot.category].phrase)
    return ", ".join(words)


def _override(snapshot: Snapshot) -> OverrideStatus | None:
    if snapshot.override is None:
        return None
    return OverrideStatus(
        mode=snapshot.override.mode,
        since=_millisecond(snapshot.override.since),
        until=to_millisecond(snapshot.override.until),
        reason=one_line(snapshot.override.reason) or None,
    )


def _state(snapshot: Snapshot) -> str:
    if snapshot.override is not None and snapshot.override.mode is not OverrideMode.DISABLED:
        return f"{status_of(snapshot).value}, {told_of(snapshot.override)}"
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
