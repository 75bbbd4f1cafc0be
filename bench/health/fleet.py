"""Large fleets at the default interval, and the trial at the end of an open time: how late, at what cost."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench.health.cheapbackend import backend
from bench.process import Contestant, ours

INTERVAL_S = 30.0
TARGETS = 10_000
SIMULATED_TARGETS = 100_000
TRIAL_TARGETS = 1_000
OPEN_TIME_S = 2.0
TRIALS_S = 16.0
"""Trials 2, 6 and 14 s after the first failure, each up to 10 % later."""
WINDOW_S = 2 * INTERVAL_S
RECONNECT_S = 300.0
"""A connection lives that long (`vmcp.mcp.pool.MOST_AGE_SECONDS`)."""


def sockets() -> dict[str, object]:
    """10,000 targets at 30 s on real sockets, an address and a kept connection each."""
    with backend() as server, _checker(server.port, TARGETS) as checker:
        first_cpu_s = _first_pass(checker, TARGETS)
        seen = _window(checker)
        reconnects = first_cpu_s / RECONNECT_S
        late = seen["lateness_ms"]
        return {
            "targets": TARGETS,
            "lateness_p50_ms": percentile(late, 0.5),
            "lateness_p99_ms": percentile(late, 0.99),
            "lateness_max_ms": max(late),
            "rss_mb": round(checker.resident_mb()),
            "cpu_share": round(seen["cpu_share"], 4),
            "cpu_share_with_reconnects": round(seen["cpu_share"] + reconnects, 4),
            "first_pass_cpu_s": round(first_cpu_s, 2),
            "fleet_checks": len(late),
            "fleet_failed": seen["failed"],
            "fleet_lateness_curve_ms": _curve(late),
        }


def simulated() -> dict[str, object]:
    """100,000 targets at 30 s on a transport without sockets."""
    with _checker(1, SIMULATED_TARGETS, "--simulated") as checker:
        _first_pass(checker, SIMULATED_TARGETS)
        seen = _window(checker)
        late = seen["lateness_ms"]
        return {
            "simulated_targets": SIMULATED_TARGETS,
            "simulated_lateness_p50_ms": percentile(late, 0.5),
            "simulated_lateness_p99_ms": percentile(late, 0.99),
            "simulated_lateness_max_ms": max(late),
            "simulated_rss_mb": round(checker.resident_mb()),
            "simulated_cpu_share": round(seen["cpu_share"], 4),
            "simulated_checks": len(late),
            "simulated_lateness_curve_ms": _curve(late),
        }


def trials() -> dict[str, object]:
    """1,000 circuits open at once against a backend that answers 500: how late their trials are."""
    with backend() as server:
        server.fail()
        with _checker(server.port, TRIAL_TARGETS, "--open-time", str(OPEN_TIME_S)) as checker:
            time.sleep(TRIALS_S)
            late = checker.ask("sample")["trial_lateness_ms"]
    return {
        "trials": len(late),
        "trial_lateness_p50_ms": percentile(late, 0.5),
        "trial_lateness_p99_ms": percentile(late, 0.99),
        "trial_lateness_max_ms": max(late),
        "trial_lateness_curve_ms": _curve(late),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


@contextlib.contextmanager
def _checker(port: int, targets: int, *more: str) -> Iterator[Contestant]:
    arguments = ("--port", str(port), "--targets", str(targets), "--interval", str(INTERVAL_S), *more)
    with ours("bench.health.checker", *arguments) as checker:
        checker.line()
        yield checker


def _first_pass(checker: Contestant, targets: int) -> float:
    """Wait until every target was checked once; the CPU seconds that took, sessions and connections included."""
    while checker.ask("sample")["reported"] < targets:
        time.sleep(1.0)
    return float(checker.ask("sample")["cpu_s"])


def _window(checker: Contestant) -> dict[str, Any]:
    began = checker.ask("reset")
    time.sleep(WINDOW_S)
    ended: dict[str, Any] = checker.ask("sample")
    wall = ended["at"] - began["at"]
    return {
        "cpu_share": (ended["cpu_s"] - began["cpu_s"]) / wall,
        "failed": ended["failed"] - began["failed"],
        "lateness_ms": checker.ask("lateness")["lateness_ms"],
    }


def _curve(values: Sequence[float]) -> dict[str, float]:
    """Percentiles for the plot."""
    return {str(share): percentile(values, share / 100) for share in (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)}
