"""The small endpoints of the gateway: what kubelet, operator, Prometheus and people read (not MCP)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from vmcp import __version__
from vmcp.gateway.edge import Page
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.metrics import CONTENT_TYPE, Metrics
from vmcp.gateway.upstream import Upstream
from vmcp.health.snapshot import Health, counted

_JSON = "application/json"


class Pages:
    """Renders the endpoints from one source, the fleet, so that they always agree.

    Args:
        group: name of the MCPGroup as configured right now.
        mode: `dynamic` when backends come from Kubernetes, else `static`.
        not_ready: why the gateway is not ready; empty = it is.
    """

    def __init__(
        self, *, fleet: Fleet, metrics: Metrics, group: Callable[[], str], mode: str, not_ready: Callable[[], str]
    ) -> None:
        self._fleet = fleet
        self._metrics = metrics
        self._group = group
        self._mode = mode
        self._not_ready = not_ready

    def by_path(self) -> dict[str, Page]:
        """Every endpoint."""
        return {
            "/health": self._alive,
            "/ping": self._alive,
            "/readyz": self._ready,
            "/status": self._status,
            "/api/backends/health": self._health,
            "/metrics": lambda: (200, self._metrics.exposition(), CONTENT_TYPE),
        }

    def _alive(self) -> tuple[int, bytes, str]:
        return 200, b'{"status":"ok"}', _JSON

    def _ready(self) -> tuple[int, bytes, str]:
        reason = self._not_ready()
        if reason:
            return _json({"status": "not_ready", "mode": self._mode, "reason": reason}, 503)
        return _json({"status": "ready", "mode": self._mode})

    def _status(self) -> tuple[int, bytes, str]:
        upstreams = self._sorted()
        return _json(
            {
                "backends": [
                    {
                        "name": upstream.name,
                        "health": upstream.snapshot.health.value,
                        "transport": upstream.config.transport.value,
                        "auth_type": "configured" if upstream.config.auth_configured else "unauthenticated",
                        "mcp_revision": _revision(upstream),
                    }
                    for upstream in upstreams
                ],
                "healthy": all(counted(each.snapshot) for each in upstreams),
                "version": __version__,
                "group_ref": self._group(),
            }
        )

    def _health(self) -> tuple[int, bytes, str]:
        upstreams = self._sorted()
        summary = {"Total": len(upstreams)}
        for health in Health:
            summary[health.value.capitalize()] = sum(each.snapshot.health is health for each in upstreams)
        return _json(
            {
                "monitoring_enabled": True,
                "summary": summary,
                "backends": {upstream.name: _details(upstream) for upstream in upstreams},
            }
        )

    def _sorted(self) -> list[Upstream]:
        return [upstream for _, upstream in sorted(self._fleet.upstreams.items())]


def _details(upstream: Upstream) -> dict[str, object]:
    seen = upstream.snapshot
    return {
        "Status": seen.health.value,
        "ConsecutiveFailures": seen.consecutive_failures,
        "LastCheckTime": _time(seen.last_check_at),
        "LastErrorCategory": seen.category.value if seen.category else "",
        "LastTransitionTime": _time(upstream.health_changed_at),
        "CircuitState": seen.circuit.value,
        "CircuitLastChanged": _time(seen.circuit_changed_at),
        "MCPRevision": _revision(upstream),
    }


def _revision(upstream: Upstream) -> str:
    return upstream.snapshot.mcp_revision or upstream.backend.revision


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _json(content: object, status: int = 200) -> tuple[int, bytes, str]:
    return status, json.dumps(content).encode(), _JSON
