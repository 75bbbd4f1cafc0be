"""Everything fails at random for a while; left alone, every status is the truth again.

`VMCP_CHAOS_SEED` repeats a run as far as threads can; `VMCP_CHAOS_SECONDS` makes it longer.
"""

import json
import os
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import audit
from tests.chaos.actors import CheapBackend, Pair, State, crash_apiserver, edit, flap
from tests.integration.stage import GROUP, Stage, entry, eventually, gateway, group, with_handling

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS
from vmcp_dev.runner import LocalRunner
from vmcp_dev.runnerthread import RunnerThread

SECONDS = float(os.environ.get("VMCP_CHAOS_SECONDS", "60"))
OBJECTS = [f"front-{number}" for number in range(3)]
BACKENDS_EACH = 4
PATIENCE_S = 120.0
WRITE_GAP_S = 1.0
QUICK = {
    "healthCheckInterval": "3s",
    "healthCheckTimeout": "2s",
    "circuitBreaker": {"enabled": True, "failureThreshold": 2, "timeout": "1s", "maxTimeout": "3s"},
}
GATEWAY_HEALTH = {"ready": "healthy", "degraded": "degraded", "unavailable": "unhealthy"}


@pytest.fixture
def seed() -> str:
    seed = os.environ.get("VMCP_CHAOS_SEED") or f"{random.SystemRandom().randrange(10**9)}"
    print(f"VMCP_CHAOS_SEED={seed}")
    return seed


@pytest.fixture
def apiserver(tmp_path: Path) -> Iterator[ControlPlane]:
    """One of our own, since it will be killed."""
    with ControlPlane(tmp_path / "control-plane", crds=CRDS, audit=True) as running:
        yield running


@pytest.fixture
def runner(apiserver: ControlPlane, tmp_path: Path) -> Iterator[RunnerThread]:
    with RunnerThread(LocalRunner(apiserver.kubeconfig, tmp_path / "runner")) as running:
        yield running


@pytest.fixture
def scene(apiserver: ControlPlane, seed: str) -> Iterator[tuple[Stage, dict[str, list[CheapBackend]]]]:
    stage = Stage(apiserver.kubectl, "chaos")
    stage.kubectl("create", "namespace", stage.namespace)
    eventually(lambda: stage.exists("serviceaccount", "default"))
    rng = random.Random(f"{seed}-ports")
    backends = {name: [CheapBackend(f"{name}-{number}", rng) for number in range(BACKENDS_EACH)] for name in OBJECTS}
    try:
        for name, members in backends.items():
            for backend in members:
                backend.become(State.ALIVE)
            entries = [entry(backend.name, backend.url, name) for backend in members]
            stage.apply(group(name), *entries, with_handling(gateway(name, name), **QUICK))
        yield stage, backends
    finally:
        for members in backends.values():
            for backend in members:
                backend.become(State.DEAD)


def test_after_the_chaos_every_status_is_the_truth_and_only_the_holder_of_the_lease_wrote(
    apiserver: ControlPlane,
    runner: RunnerThread,
    scene: tuple[Stage, dict[str, list[CheapBackend]]],
    seed: str,
    tmp_path: Path,
) -> None:
    stage, backends = scene
    everyone = [backend for members in backends.values() for backend in members]
    pair = Pair(apiserver.kubeconfig, stage, tmp_path)
    try:
        for name in OBJECTS:
            eventually(lambda name=name: stage.status(name)["phase"] == "Ready", patience_s=PATIENCE_S)
        _chaos(apiserver, stage, everyone, pair, seed)
        final = random.Random(f"{seed}-final")
        for backend in everyone:
            backend.become(final.choice(list(State)))

        eventually(lambda: sorted(twin.leads() for twin in pair.now) == [False, True])
        eventually(lambda: sorted(twin.follows() for twin in pair.now) == [False, True])
        for name in OBJECTS:
            obj = _until_true(stage, name, backends[name])
            _is_whole(obj)
            url = runner.wait_address(stage.namespace, name)
            eventually(lambda name=name, url=url: _gateway_agrees(stage, name, url))
        time.sleep(2 * WRITE_GAP_S)  # What a former holder still had in mind would be written by now.
        _wrote_only_the_holder(apiserver)
    finally:
        pair.stop()
    logs = [*(twin.log for twin in pair.ever), *(tmp_path / "runner" / "logs").glob("*.log")]
    for log in logs:
        assert "Traceback" not in log.read_text(), f"{log}\n{log.read_text()}"
    print(f"{len(pair.ever)} operator processes")


def _chaos(apiserver: ControlPlane, stage: Stage, backends: list[CheapBackend], pair: Pair, seed: str) -> None:
    end = threading.Event()

    def rng(actor: str) -> random.Random:
        return random.Random(f"{seed}-{actor}")

    with ThreadPoolExecutor() as threads:
        acts = [
            threads.submit(flap, backends, rng("backends"), end),
            threads.submit(crash_apiserver, apiserver, rng("apiserver"), end),
            threads.submit(pair.torment, rng("operators"), end),
            threads.submit(edit, stage, OBJECTS, rng("person"), end),
        ]
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not any(act.done() for act in acts):
            time.sleep(0.1)
        end.set()
        for act in acts:
            act.result()


def _until_true(stage: Stage, name: str, backends: list[CheapBackend]) -> dict[str, Any]:
    """The object, once its status says of every backend what is so."""

    def look() -> dict[str, Any] | None:
        obj = stage.get("vmcp", name)
        if obj["status"].get("observedGeneration") != obj["metadata"]["generation"]:
            return None
        told = {each["name"]: each for each in obj["status"]["discoveredBackends"]}
        return obj if all(_is_told(backend, told[backend.name]) for backend in backends) else None

    found = eventually(look, patience_s=PATIENCE_S)
    assert found is not None
    return found


def _is_told(backend: CheapBackend, told: dict[str, Any]) -> bool:
    seen = told["status"], told["circuitBreakerState"]
    if backend.state is State.ALIVE:
        return seen == ("ready", "closed")
    category = {State.DEAD: "connect", State.HUNG: "timeout"}[backend.state]
    # While a trial is under way, a backend that is out is shown as degraded.
    return seen in (("unavailable", "open"), ("degraded", "half-open")) and told["errorCategory"] == category


def _is_whole(obj: dict[str, Any]) -> None:
    generation, status = obj["metadata"]["generation"], obj["status"]
    assert obj["apiVersion"] == GROUP
    assert {condition["observedGeneration"] for condition in status["conditions"]} == {generation}
    alive = sum(backend["status"] == "ready" for backend in status["discoveredBackends"])
    assert status["backendCount"] == alive
    phase = "Ready" if alive == BACKENDS_EACH else "Degraded" if alive else "Failed"
    assert status["phase"] == phase


def _gateway_agrees(stage: Stage, name: str, url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/backends/health", timeout=5) as response:
            told = json.loads(response.read())["backends"]
    except OSError:
        return False  # Busy, as everything here is: it is asked again.
    status = stage.status(name)["discoveredBackends"]
    return {each: (found["Status"], found["CircuitState"]) for each, found in told.items()} == {
        found["name"]: (GATEWAY_HEALTH[found["status"]], found["circuitBreakerState"]) for found in status
    }


def _wrote_only_the_holder(apiserver: ControlPlane) -> None:
    assert apiserver.audit_log is not None
    entries = audit.writes_of_operators(apiserver.audit_log)
    stored = [entry for entry in entries if audit.is_status(entry) and audit.is_stored(entry)]
    writers = {entry["userAgent"] for entry in stored}
    print(f"{len(stored)} status writes by {len(writers)} processes, {len(entries)} writes in all")
    assert stored
    assert audit.writes_of_others(entries) == []
    # The stamps are the wall clock's.
    assert audit.quickest_three_s(entries) > 0.95 * WRITE_GAP_S
