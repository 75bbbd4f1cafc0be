"""The operator's metrics, read at each scrape from the counts that every part keeps; docs/metrics.md is the table.

Labels are bounded: enums, but for the one series a backend, which is limited to `BACKEND_SERIES_MAX`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import vmcp
from vmcp.handlers.queue import QueueStatistics
from vmcp.health.scheduler import LATENESS_BOUNDS_S
from vmcp.health.scheduler import Statistics as SchedulerStatistics
from vmcp.health.snapshot import Circuit, Health, Snapshot
from vmcp.process.listener import Page
from vmcp.process.measured import DURATION_BOUNDS_S, MeasuredCheck
from vmcp.status.events import EventStatistics
from vmcp.status.findings import Findings
from vmcp.status.writer import Statistics as WriterStatistics

BACKEND_SERIES_MAX = 1000
"""Backends with a series of their own, those whose circuit is not closed before the others."""

STATE = {Circuit.CLOSED: 0, Circuit.HALF_OPEN: 1, Circuit.OPEN: 2}


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the numbers are read. `objects`: every VirtualMCPServer with its backends."""

    leading: Callable[[], bool]
    objects: Callable[[], Iterable[tuple[Findings, Sequence[Snapshot]]]]
    scheduler: Callable[[], SchedulerStatistics]
    doubting: Callable[[], bool]
    writer: Callable[[], WriterStatistics]
    events: Callable[[], EventStatistics]
    queue: Callable[[], QueueStatistics]
    watch_age_s: Callable[[], float]
    check: MeasuredCheck
    transitions: Counter[tuple[Circuit, Circuit]]


class Metrics:
    """A registry of its own; nothing of it is global."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_OperatorCollector(sources))
        ProcessCollector(registry=self._registry)

    def page(self) -> Page:
        """What Prometheus scrapes."""
        return Page(generate_latest(self._registry), CONTENT_TYPE_LATEST)

    def families(self) -> list[Metric]:
        """What there is, with the numbers of now."""
        return list(self._registry.collect())


class _OperatorCollector(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """All families but the process's own."""
        yield InfoMetricFamily("vmcp_build", "Version of the operator.", value={"version": vmcp.__version__})
        leading = self._sources.leading()
        yield _gauge("vmcp_leader", "1 where this process holds the Lease and works, 0 where it waits.", leading)
        yield from self._backends()
        yield from self._probes()
        yield from self._status()
        yield from self._kubernetes()

    def _backends(self) -> Iterator[Metric]:
        totals: Counter[tuple[Health, Circuit]] = Counter()
        series: list[tuple[bool, str, str, str, Circuit]] = []
        for found, snapshots in self._sources.objects():
            for snapshot in snapshots:
                totals[snapshot.health, snapshot.circuit] += 1
                is_closed = snapshot.circuit is Circuit.CLOSED
                series.append((is_closed, found.namespace, found.name, snapshot.name, snapshot.circuit))
        backends = GaugeMetricFamily("vmcp_backends", "Backends by health and circuit.", labels=("health", "circuit"))
        for health in Health:
            for circuit in Circuit:
                backends.add_metric((health, circuit), totals[health, circuit])
        yield backends
        series.sort()
        state = GaugeMetricFamily(
            "vmcp_backend_circuit_state",
            f"Circuit of a backend: 0 closed, 1 half-open, 2 open. {BACKEND_SERIES_MAX} series at most.",
            labels=("namespace", "name", "backend"),
        )
        for _, namespace, name, backend, circuit in series[:BACKEND_SERIES_MAX]:
            state.add_metric((namespace, name, backend), STATE[circuit])
        yield state
        omitted = max(0, len(series) - BACKEND_SERIES_MAX)
        yield _gauge("vmcp_backend_series_omitted", "Backends without a series of their own.", omitted)
        yield _counters(
            "vmcp_transitions",
            "Changes of circuits.",
            ("from", "to"),
            (((before, after), count) for (before, after), count in sorted(self._sources.transitions.items())),
        )

    def _probes(self) -> Iterator[Metric]:
        check, scheduler = self._sources.check, self._sources.scheduler()
        yield _gauge("vmcp_targets", "Backends under watch.", scheduler.keys)
        results = (((str(category or "ok"),), count) for category, count in check.results.items())
        yield _counters("vmcp_probe_results", "Checks by what they showed.", ("category",), results)
        yield _histogram(
            "vmcp_probe_duration_seconds",
            "How long checks took.",
            DURATION_BOUNDS_S,
            check.duration_counts,
            check.duration_sum_s,
        )
        yield _histogram(
            "vmcp_probe_lateness_seconds",
            "How long after their due time checks started.",
            LATENESS_BOUNDS_S,
            scheduler.lateness_counts,
            scheduler.lateness_sum_s,
        )
        overdue = "How late the earliest check is that waits for a free slot."
        yield _gauge("vmcp_probe_overdue_seconds", overdue, scheduler.overdue_s)
        doubting = "1 where so many backends began to fail at once that our own network is doubted; states are frozen."
        yield _gauge("vmcp_probing_doubted", doubting, self._sources.doubting())
        yield _gauge("vmcp_probes_in_flight", "Checks under way.", scheduler.in_flight)
        yield _counter("vmcp_scheduler_stalls", "Times the process stood still for over a second.", scheduler.stalls)

    def _status(self) -> Iterator[Metric]:
        writer, events = self._sources.writer(), self._sources.events()
        yield _counters(
            "vmcp_status_writes",
            "Status writes that the API server took, by what caused them.",
            ("cause",),
            [(("news",), writer.writes - writer.heartbeats), (("heartbeat",), writer.heartbeats)],
        )
        suppressed = "Status writes left out because they would have told nothing new."
        yield _counter("vmcp_status_writes_suppressed", suppressed, writer.suppressed)
        conflicts = "Status writes that another write was faster than; done again at once."
        yield _counter("vmcp_status_write_conflicts", conflicts, writer.conflicts)
        yield _counter("vmcp_status_write_retries", "Status writes that failed and were put off.", writer.retries)
        yield _counters(
            "vmcp_events",
            "Kubernetes Events: stored, dropped from a full queue, or failed after several attempts.",
            ("result",),
            [(("stored",), events.stored), (("dropped",), events.dropped), (("failed",), events.failed)],
        )

    def _kubernetes(self) -> Iterator[Metric]:
        queue = self._sources.queue()
        age = "Silence of the most silent watch; a bookmark comes every minute."
        yield _gauge("vmcp_watch_age_seconds", age, self._sources.watch_age_s())
        yield _gauge("vmcp_queue_depth", "Objects that wait for a worker to reconcile them.", queue.depth)
        yield _counters(
            "vmcp_reconciles",
            "Reconciles of one object each.",
            ("result",),
            [(("ok",), queue.succeeded), (("failed",), queue.failed)],
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _counters(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for named, value in values:
        family.add_metric(named, value)
    return family


def _histogram(name: str, text: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    upper = [*(str(bound) for bound in bounds), "+Inf"]
    return HistogramMetricFamily(name, text, buckets=list(zip(upper, accumulate(counts), strict=True)), sum_value=total)
