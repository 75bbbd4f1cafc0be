"""What a status says of its backends, read back after a restart (design §3 rule 9). Never raises."""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from vmcp.api.model import ApiModel
from vmcp.api.status import (
    BackendStatus,
    CircuitState,
    DiscoveredBackend,
    OverrideStatus,
    VirtualMCPServerStatus,
)
from vmcp.health.snapshot import Circuit, Health, Override, Snapshot, Transition

_Model = TypeVar("_Model", bound=ApiModel)

_HEALTH = {
    BackendStatus.READY: Health.HEALTHY,
    BackendStatus.DEGRADED: Health.DEGRADED,
    BackendStatus.UNAVAILABLE: Health.UNHEALTHY,
    BackendStatus.UNKNOWN: Health.UNKNOWN,
    BackendStatus.UNAUTHENTICATED: Health.UNAUTHENTICATED,
}


def recall(status: Mapping[str, object]) -> dict[str, Snapshot]:
    """The snapshots that the status was made from, by backend name, as far as it tells.

    A status of another product, or a part of one, gives what can be read of it; a backend without
    `targetFingerprint` gets an empty one, which is no target's.
    """
    entries = status.get("discoveredBackends") if isinstance(status, Mapping) else None
    backends = [lenient(DiscoveredBackend, entry) for entry in entries] if isinstance(entries, list) else []
    return {backend.name: _snapshot(backend) for backend in backends if backend is not None and backend.name}


def read_status(status: object) -> VirtualMCPServerStatus | None:
    """The status as a model, without the fields that cannot be read; None when there is none."""
    return lenient(VirtualMCPServerStatus, status) if status else None


def lenient(model: type[_Model], value: object) -> _Model | None:
    """The value as a model, without the fields that do not fit; None when a required one does not."""
    if not isinstance(value, Mapping):
        return None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        misfits = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
    try:
        return model.model_validate({key: item for key, item in value.items() if key not in misfits})
    except ValidationError:
        return None


def _snapshot(backend: DiscoveredBackend) -> Snapshot:
    circuit = Circuit(backend.circuit_breaker_state or CircuitState.CLOSED)
    return Snapshot(
        name=backend.name,
        url=backend.url or "",
        fingerprint=backend.target_fingerprint or "",
        health=_HEALTH[backend.status or BackendStatus.UNKNOWN],
        circuit=circuit,
        circuit_changed_at=_seconds(backend.circuit_last_changed),
        open_until=_seconds(backend.circuit_open_until) if circuit is Circuit.OPEN else None,
        reopen_count=backend.circuit_reopen_count or 0,
        consecutive_failures=max(0, backend.consecutive_failures or 0),
        last_check_at=_seconds(backend.last_health_check),
        latency_s=None if backend.latency_millis is None else backend.latency_millis / 1000,
        category=backend.error_category,
        mcp_revision=backend.mcp_revision or "",
        detail=backend.message or "",
        transitions=tuple(
            Transition(change.time.timestamp(), Circuit(change.before), Circuit(change.after), change.reason)
            for change in backend.transitions or ()
        ),
        override=_override(backend.override),
    )


def _override(status: OverrideStatus | None) -> Override | None:
    if status is None:
        return None
    return Override(status.mode, status.since.timestamp(), _seconds(status.until), status.reason or "")


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
