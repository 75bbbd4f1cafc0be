"""Counts and durations of calls, kept as plain numbers: every call pays for them, a scrape only now and then."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Durations:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0


class CallCounts(Collector):
    """Counts calls. Outcomes: ok, error (the backend's own), asked (the client first), failed (no answer), unavailable,
    unknown, cancelled.
    """

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str, str], int] = {}
        self._timed: dict[tuple[str, str], _Durations] = {}

    def called(self, backend: str, method: str, outcome: str, seconds: float) -> None:
        """One request was answered, after `seconds` at the backend (0 = it was not asked)."""
        key = (backend, method, outcome)
        self._counted[key] = self._counted.get(key, 0) + 1
        if seconds:
            timed = self._timed.get(key[:2])
            if timed is None:
                timed = self._timed[key[:2]] = _Durations()
            timed.counts[bisect_left(BOUNDS_S, seconds)] += 1
            timed.sum_s += seconds

    def forget(self, backend: str) -> None:
        """The backend is configured no more: drop its series."""
        for counted in [key for key in self._counted if key[0] == backend]:
            del self._counted[counted]
        for timed in [key for key in self._timed if key[0] == backend]:
            del self._timed[timed]

    def collect(self) -> Iterator[Metric]:
        """Both families."""
        calls = CounterMetricFamily(
            "vmcp_gateway_calls",
            "Requests routed to a backend, or refused because it is out or unknown.",
            labels=("backend", "method", "outcome"),
        )
        for labels, count in self._counted.items():
            calls.add_metric(labels, count)
        yield calls
        seconds = HistogramMetricFamily(
            "vmcp_gateway_call_duration_seconds",
            "Time from request to response of calls that reached a backend.",
            labels=("backend", "method"),
        )
        upper = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
        for pair, timed in self._timed.items():
            seconds.add_metric(pair, list(zip(upper, accumulate(timed.counts), strict=True)), sum_value=timed.sum_s)
        yield seconds
