"""Checks per second and core at saturation: ours, Envoy and blackbox_exporter, in turn.

CPU is that of the checking process only; checks are counted by the backend. All have the same endpoints, due
again a millisecond after each answer, so that the next check is always due.
"""

import contextlib
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.health import blackbox, envoy
from bench.health.cheapbackend import Backend, backend
from bench.process import CHECKER_CORE, Contestant, contestant, envoy_binary, ours

from vmcp_dev.ports import free_port

ENDPOINTS = 200
INTERVAL_S = 0.001
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Round:
    """One contestant's turn."""

    checks: int
    cpu_s: float
    wall_s: float

    @property
    def per_core(self) -> float:
        """Checks for a second of CPU."""
        return self.checks / self.cpu_s


def measure(rounds: int, seconds: float) -> dict[str, object]:
    """Medians over the rounds, and every round."""
    seen: dict[str, list[Round]] = {name: [] for name in _CONTESTANTS}
    with backend() as server:
        for number in range(rounds):
            for name, begin in _CONTESTANTS.items():
                with begin(server) as checker:
                    seen[name].append(_one_round(checker, server, seconds))
                print(f"  round {number + 1}  {name:9} {seen[name][-1].per_core:9,.0f} checks/s and core", flush=True)
    per_core = {name: statistics.median(one.per_core for one in turns) for name, turns in seen.items()}
    return {
        "checks_per_second_per_core": round(per_core["ours"]),
        "envoy_checks_per_second_per_core": round(per_core["envoy"]),
        "blackbox_checks_per_second_per_core": round(per_core["blackbox"]),
        "cpu_us_per_check": {name: round(1e6 / value, 1) for name, value in per_core.items()},
        "saturation_rounds": {name: [round(one.per_core) for one in turns] for name, turns in seen.items()},
        "saturation_core_share": {
            name: round(statistics.median(one.cpu_s / one.wall_s for one in turns), 2) for name, turns in seen.items()
        },
    }


def _one_round(checker: Contestant, server: Backend, seconds: float) -> Round:
    time.sleep(WARM_UP_S)
    began, answered, cpu = time.monotonic(), server.answered(), checker.cpu_seconds()
    time.sleep(seconds)
    return Round(server.answered() - answered, checker.cpu_seconds() - cpu, time.monotonic() - began)


@contextlib.contextmanager
def _ours(server: Backend) -> Iterator[Contestant]:
    arguments = ("--port", str(server.port), "--targets", str(ENDPOINTS), "--interval", str(INTERVAL_S))
    with ours("bench.health.checker", *arguments) as checker:
        checker.line()
        yield checker


@contextlib.contextmanager
def _envoy(server: Backend) -> Iterator[Contestant]:
    with tempfile.TemporaryDirectory() as folder:
        bootstrap = Path(folder) / "envoy.json"
        bootstrap.write_text(envoy.configuration(_addresses(), server.port, INTERVAL_S))
        flags = ("--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id")
        with contestant([envoy_binary(), *flags, "--config-path", bootstrap], silent=True) as checker:
            yield checker


@contextlib.contextmanager
def _blackbox(server: Backend) -> Iterator[Contestant]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "blackbox.yml"
        config.write_text(blackbox.configuration())
        port = free_port()
        flags = (f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error")
        arguments = ("--exporter", str(port), "--port", str(server.port), "--targets", str(ENDPOINTS))
        with contestant([blackbox.binary(), *flags], env={"GOMAXPROCS": "1"}, silent=True) as checker:
            _await_port(port)
            with ours("bench.health.blackbox", *arguments, core=CHECKER_CORE + 1):
                yield checker


_CONTESTANTS: dict[str, Callable[[Backend], contextlib.AbstractContextManager[Contestant]]] = {
    "ours": _ours,
    "envoy": _envoy,
    "blackbox": _blackbox,
}


def _addresses() -> list[str]:
    return [f"127.1.0.{number}" for number in range(1, ENDPOINTS + 1)]


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")
