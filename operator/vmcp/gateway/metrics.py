"""The gateway's own metrics, in a registry of their own. Labels are bounded: backends are configured, methods known."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from vmcp.gateway.callcounts import CallCounts

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """All of them.

    Attributes:
        called: one request was answered; see `CallCounts.called`.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._calls = CallCounts()
        self._registry.register(self._calls)
        self.called = self._calls.called
        self._backends = Gauge(
            "vmcp_gateway_backends",
            "Configured backends by whether they are used.",
            ("usable",),
            registry=self._registry,
        )
        self._sessions = Gauge("vmcp_gateway_sessions", "Live sessions of Legacy clients.", registry=self._registry)
        self._connections = Gauge("vmcp_gateway_connections", "Open connections of clients.", registry=self._registry)
        self._storage_up = Gauge(
            "vmcp_gateway_session_storage_up",
            "1 = the storage that replicas share sessions in answers; 0 = it does not, or there is none.",
            registry=self._registry,
        )
        self._storage_failures = Counter(
            "vmcp_gateway_session_storage_failures",
            "Requests that the storage of sessions did not answer.",
            registry=self._registry,
        )
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

    def observe(self, *, sessions: Callable[[], float], usable: Callable[[], float], out: Callable[[], float]) -> None:
        """Where the gauges are read from at each scrape."""
        self._sessions.set_function(sessions)
        self._backends.labels("true").set_function(usable)
        self._backends.labels("false").set_function(out)

    def observe_storage(self, present: Callable[[], float]) -> None:
        """Where it is read from, at each scrape, whether the storage of sessions is there."""
        self._storage_up.set_function(present)

    def storage_failed(self) -> None:
        """The storage of sessions did not answer."""
        self._storage_failures.inc()

    def observe_connections(self, count: Callable[[], float]) -> None:
        """Where the number of open connections of clients is read from at each scrape."""
        self._connections.set_function(count)

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

    def flipped(self, backend: str) -> None:
        """A backend went out of use or came back."""
        self._flips.labels(backend).inc()

    def opened_locally(self, backend: str) -> None:
        """Calls of clients opened the backend's circuit here."""
        self._local_openings.labels(backend).inc()

    def forget(self, backend: str) -> None:
        """The backend is configured no more: drop its series."""
        self._calls.forget(backend)
        for counter in (self._flips, self._local_openings):
            with suppress(KeyError):  # it never flipped
                counter.remove(backend)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)


def _of(counts: Callable[[], dict[str, int]], each: str) -> float:
    return counts()[each]
