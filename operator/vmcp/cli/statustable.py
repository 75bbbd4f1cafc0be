"""VirtualMCPServers and their backends as the lines of a table. Pure; time is an argument."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from vmcp.api.duration import format_duration
from vmcp.api.status import DiscoveredBackend, VirtualMCPServerStatus
from vmcp.kube.client import JsonObject
from vmcp.status.recall import read_status

HEADERS = (
    "NAMESPACE",
    "NAME",
    "PHASE",
    "BACKEND",
    "HEALTH",
    "CIRCUIT",
    "OPEN UNTIL",
    "CHANGED",
    "OVERRULED",
    "MESSAGE",
)
NOTHING = "-"
_LONG_AGO_S = 48 * 3600.0


def rows(objects: Iterable[JsonObject], now: datetime) -> Iterator[tuple[str, ...]]:
    """A line for each backend; one for an object without backends. An object's name and phase stand in its first."""
    for obj in objects:
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        status = read_status(obj.get("status")) or VirtualMCPServerStatus()
        phase = str(status.phase) if obj.get("status") else NOTHING
        backends = status.discovered_backends or []
        for number, backend in enumerate(backends):
            yield (namespace, *((name, phase) if number == 0 else ("", "")), backend.name, *_cells(backend, now))
        if not backends:
            yield (namespace, name, phase, *[NOTHING] * 6, status.message or "no status yet; does the operator run?")


def _cells(backend: DiscoveredBackend, now: datetime) -> tuple[str, ...]:
    changes = backend.transitions or []
    until, word = backend.circuit_open_until, backend.override
    overruled = NOTHING if word is None else str(word.mode)
    if word is not None and word.until is not None:
        overruled += f" until {word.until:%Y-%m-%d %H:%M:%SZ}"
    return (
        str(backend.status or NOTHING),
        str(backend.circuit_breaker_state or NOTHING),
        f"{until:%H:%M:%SZ}" if until else NOTHING,
        f"{_ago(changes[-1].time, now)}, was {changes[-1].before}" if changes else NOTHING,
        overruled,
        backend.message or "",
    )


def _ago(when: datetime, now: datetime) -> str:
    seconds = max(0.0, (now - when).total_seconds())
    return f"{format_duration(round(seconds))} ago" if seconds < _LONG_AGO_S else f"{when:%Y-%m-%d}"
