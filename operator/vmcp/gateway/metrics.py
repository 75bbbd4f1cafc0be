"""The gateway's own metrics, in a registry of their own. Labels are bounded: backends are configured, methods known."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts calls. Outcomes: ok, error (the backend's own), asked (the client first), failed (no answer), unavailable,
    unknown, cancelled.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._calls = Counter(
            "vmcp_gateway_calls",
            "Requests routed to a backend, or refused because it is out or unknown.",
            ("backend", "method", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "vmcp_gateway_call_duration_seconds",
            "Time from request to response of calls that reached a backend.",
            ("backend", "method"),
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._backends = Gauge(
            "vmcp_gateway_backends",
            "Configured backends by whether they are used.",
            ("usable",),
            registry=self._registry,
        )
        self._sessions = Gauge("vmcp_gateway_sessions", "Live sessions of Legacy clients.", registry=self._registry)
        self._flips = Counter(
            "vmcp_gateway_flips", "Times a backend went out of use or came back.", ("backend",), registry=self._registry
        )
        self._local_openings = Counter(
            "vmcp_gateway_local_breaker_openings",
            "Times calls of clients opened the circuit of a backend in this replica.",
            ("backend",),
            registry=self._registry,
        )
        self._refused = Counter(
            "vmcp_gateway_refused",
            "Requests and connections that the edge refused or cut off, by what was wrong with them.",
            ("reason",),
            registry=self._registry,
        )
        self._items = Gauge(
            "vmcp_gateway_list_items", "Items known of all backends, by list.", ("list",), registry=self._registry
        )
        self._left_out = Gauge(
            "vmcp_gateway_list_items_left_out",
            "Items that no client sees since another one has their name.",
            ("list",),
            registry=self._registry,
        )
        self._lists = Counter(
            "vmcp_gateway_lists",
            "Answers to list requests: from the cache, or put together anew.",
            ("list", "cache"),
            registry=self._registry,
        )
        # `labels()` takes a lock and a tuple hash each: keep the children, the hot path looks one up.
        self._counted: dict[tuple[str, str, str], Counter] = {}
        self._timed: dict[tuple[str, str], Histogram] = {}

    def observe(self, *, sessions: Callable[[], float], usable: Callable[[], float], out: Callable[[], float]) -> None:
        """Where the gauges are read from at each scrape."""
        self._sessions.set_function(sessions)
        self._backends.labels("true").set_function(usable)
        self._backends.labels("false").set_function(out)

    def observe_lists(
        self, lists: Iterable[str], sizes: Callable[[], dict[str, int]], left_out: Callable[[], dict[str, int]]
    ) -> None:
        """Where the sizes of the lists are read from at each scrape."""
        for each in lists:
            self._items.labels(each).set_function(partial(_of, sizes, each))
            self._left_out.labels(each).set_function(partial(_of, left_out, each))

    def listed(self, each: str, *, cached: bool) -> None:
        """A list was answered."""
        self._lists.labels(each, "hit" if cached else "miss").inc()

    def refused(self, reason: str) -> None:
        """A request was refused, or a connection cut off, by the edge."""
        self._refused.labels(reason).inc()

    def called(self, backend: str, method: str, outcome: str, seconds: float) -> None:
        """One request was answered, after `seconds` at the backend (0 = it was not asked)."""
        key = (backend, method, outcome)
        counter = self._counted.get(key)
        if counter is None:
            counter = self._counted[key] = self._calls.labels(*key)
        counter.inc()
        if seconds:
            timed = self._timed.get(key[:2])
            if timed is None:
                timed = self._timed[key[:2]] = self._seconds.labels(*key[:2])
            timed.observe(seconds)

    def flipped(self, backend: str) -> None:
        """A backend went out of use or came back."""
        self._flips.labels(backend).inc()

    def opened_locally(self, backend: str) -> None:
        """Calls of clients opened the backend's circuit here."""
        self._local_openings.labels(backend).inc()

    def forget(self, backend: str) -> None:
        """The backend is configured no more: drop its series."""
        for counted in [key for key in self._counted if key[0] == backend]:
            del self._counted[counted]
            self._calls.remove(*counted)
        for timed in [key for key in self._timed if key[0] == backend]:
            del self._timed[timed]
            self._seconds.remove(*timed)
        for counter in (self._flips, self._local_openings):
            with suppress(KeyError):  # it never flipped
                counter.remove(backend)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)


def _of(counts: Callable[[], dict[str, int]], each: str) -> float:
    return counts()[each]
