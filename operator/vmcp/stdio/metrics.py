"""The proxy's metrics, in a registry of their own. Labels are bounded: methods are those that MCP knows."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_KNOWN: Final = frozenset(
    {
        "completion/complete", "logging/setLevel", "ping", "prompts/get", "prompts/list", "resources/list",
        "resources/read", "resources/subscribe", "resources/templates/list", "resources/unsubscribe", "tasks/cancel",
        "tasks/get", "tasks/list", "tasks/result", "tools/call", "tools/list",
    }
)  # fmt: skip


class Metrics:
    """Counts. Outcomes of calls: ok, error (the server's own), failed (no answer), cancelled."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=True)
        self._calls = Counter(
            "vmcp_stdio_calls", "Requests of clients to the server.", ("method", "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "vmcp_stdio_call_duration_seconds",
            "Time from a client's request to the server's response.",
            ("method",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._attaches = Counter("vmcp_stdio_attaches", "Times the server was attached to.", registry=registry)
        self._skipped = Counter(
            "vmcp_stdio_skipped_lines", "Lines of the server's stdout without a message.", registry=registry
        )
        self._refused = Counter(
            "vmcp_stdio_refused",
            "Requests and connections that the edge refused or cut off, by what was wrong with them.",
            ("reason",),
            registry=registry,
        )
        self._up = Gauge("vmcp_stdio_up", "1 = a session with the server stands.", registry=registry)
        self._sessions = Gauge("vmcp_stdio_sessions", "Live sessions of clients.", registry=registry)
        self._under_way = Gauge(
            "vmcp_stdio_calls_under_way", "Requests that the server has not answered yet.", registry=registry
        )

    def observe(
        self, *, up: Callable[[], float], sessions: Callable[[], float], under_way: Callable[[], float]
    ) -> None:
        """Where the gauges are read from at each scrape."""
        self._up.set_function(up)
        self._sessions.set_function(sessions)
        self._under_way.set_function(under_way)

    def called(self, method: str, outcome: str, seconds: float) -> None:
        """One request was answered."""
        known = method if method in _KNOWN else "other"
        self._calls.labels(known, outcome).inc()
        self._seconds.labels(known).observe(seconds)

    def attached(self) -> None:
        """The server was attached to."""
        self._attaches.inc()

    def skipped(self) -> None:
        """A line was no message."""
        self._skipped.inc()

    def refused(self, reason: str) -> None:
        """A request was refused, or a connection cut off, by the edge."""
        self._refused.labels(reason).inc()

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
