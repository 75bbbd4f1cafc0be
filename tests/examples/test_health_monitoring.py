"""examples/health-monitoring.yaml as docs/health-monitoring.md walks through it: one backend breaks and is repaired."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.examples.manifests import EXAMPLES

from vmcp_dev.backends.running import RunningBackend
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl
from vmcp_dev.operatorprocess import start_operator
from vmcp_dev.ports import free_port
from vmcp_dev.runnerthread import RunnerThread

PATIENCE_S = 120.0
PORTS = {"time": 9311, "notes": 9312}


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[dict[str, RunningBackend]]:
    with ExitStack() as stack:
        running = {name: RunningBackend(name, free_port(), logs=tmp_path) for name in PORTS}
        for backend in running.values():
            stack.enter_context(backend)
        for backend in running.values():
            backend.wait_listening()
        yield running


@pytest.fixture
def operator(control_plane: ControlPlane, crds: None, namespace: str, tmp_path: Path) -> Iterator[None]:
    running = start_operator(
        control_plane.kubeconfig, log=tmp_path / "operator.log", arguments=["--namespace", namespace]
    )
    yield
    running.stop(20.0)


def test_the_walk_through_is_true(
    backends: dict[str, RunningBackend], operator: None, local_runner: RunnerThread, kubectl: Kubectl, namespace: str
) -> None:
    def status() -> dict[str, Any]:
        found: dict[str, Any] = kubectl.json("-n", namespace, "get", "vmcp", "health").get("status", {})
        return found

    def ready(status: dict[str, Any]) -> str:
        conditions = {found["type"]: found for found in status.get("conditions", ())}
        return str(conditions.get("Ready", {}).get("reason", ""))

    def entry(status: dict[str, Any], name: str) -> dict[str, Any]:
        return next(found for found in status.get("discoveredBackends", ()) if found["name"] == name)

    manifest = (EXAMPLES / "health-monitoring.yaml").read_text()
    for name, port in PORTS.items():
        manifest = manifest.replace(f":{port}/mcp", f":{backends[name].port}/mcp")
    kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)
    seen = _until(status, lambda status: ready(status) == "AllBackendsRoutable")
    assert seen["phase"] == "Ready"
    assert seen["backendCount"] == 2

    backends["time"].kill()
    seen = _until(status, lambda status: entry(status, "time")["circuitBreakerState"] == "open")
    assert (seen["phase"], ready(seen)) == ("Degraded", "SomeBackendsUnhealthy")
    assert entry(seen, "time")["status"] == "unavailable"
    assert entry(seen, "time")["errorCategory"] == "connect"
    assert entry(seen, "notes")["status"] == "ready"

    # Nobody repairs it: the trial fails, and it stays out for longer.
    seen = _until(status, lambda status: entry(status, "time")["circuitReopenCount"] >= 1)
    backends["time"].start()
    backends["time"].wait_listening()
    seen = _until(status, lambda status: entry(status, "time")["circuitBreakerState"] == "closed")
    _until(status, lambda status: (status["phase"], entry(status, "time")["status"]) == ("Ready", "ready"))

    circuit = [(move["from"], move["to"]) for move in entry(seen, "time")["transitions"]]
    assert circuit[-4:] == [
        ("open", "half-open"),
        ("half-open", "open"),
        ("open", "half-open"),
        ("half-open", "closed"),
    ]
    assert entry(seen, "notes").get("transitions", []) == []
    events = re.sub(r"\s+", " ", kubectl("-n", namespace, "describe", "vmcp", "health").partition("\nEvents:")[2])
    assert "CircuitOpened" in events


def _until(look: Callable[[], dict[str, Any]], met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        seen = look()
        try:
            if met(seen):
                return seen
        except (KeyError, StopIteration):
            pass
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
