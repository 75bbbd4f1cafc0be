"""A quiet hour in fast-forward, and the pure steps of the breaker."""

import asyncio
import random
import time
from collections import defaultdict
from typing import Any, Final, cast

from tests.health.fakeclock import FakeClock, run

from vmcp.health import breaker as circuits
from vmcp.health import tracker
from vmcp.health.breaker import Breaker
from vmcp.health.monitor import Change, Check, Monitor
from vmcp.health.outcome import Outcome
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.record import Record
from vmcp.health.target import Target
from vmcp.kube.client import JsonObject, Kube
from vmcp.status.findings import DeploymentState, Findings
from vmcp.status.news import is_urgent
from vmcp.status.writer import StatusWriter

OBJECTS: Final = 20
TARGETS_EACH: Final = 10
HOUR_S: Final = 3600.0
_SETTLED_AFTER_S: Final = 300.0
_STEPS: Final = 200_000


class SteadyCheck(Check):
    """Backends that are always well, each answer as fast as it happens to be."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.checks = 0

    async def check(self, target: Target) -> Outcome:
        """An answer within 5 to 200 ms."""
        latency_s = self._rng.uniform(0.005, 0.2)
        await asyncio.sleep(latency_s)
        self.checks += 1
        return Outcome(latency_s=latency_s, mcp_revision="2025-11-25")

    def forget(self, target: Target) -> None:
        """Nothing is kept."""


class CountingStore:
    """Stands for the API server where sockets cannot follow the fast clock: keeps what is applied, and counts."""

    def __init__(self) -> None:
        self.objects: dict[str, JsonObject] = {}
        self.writes: dict[str, int] = defaultdict(int)
        self._version = 0

    def put(self, name: str, obj: JsonObject) -> JsonObject:
        """Store the object under the next resourceVersion."""
        self._version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self._version)}
        self.objects[name] = {**obj, "metadata": metadata}
        return self.objects[name]

    async def get(self, kind: object, namespace: str, name: str) -> JsonObject:
        """As Kube."""
        return self.objects[name]

    async def apply(self, kind: object, body: JsonObject, **_: Any) -> JsonObject:
        """As Kube."""
        name: str = body["metadata"]["name"]
        self.writes[name] += 1
        return self.put(name, body)


def quiet_hour() -> dict[str, object]:
    """Status writes of an hour in which nothing happens: 20 objects of 10 backends, monitor and writer real."""
    return run(_quiet_hour())


async def _quiet_hour() -> dict[str, object]:
    clock, store = FakeClock(), CountingStore()
    check = SteadyCheck(random.Random(7))
    findings = {
        f"uid-{number}": Findings("default", f"gate-{number}", f"uid-{number}", 1, deployment=DeploymentState.AVAILABLE)
        for number in range(OBJECTS)
    }

    def changed(change: Change) -> None:
        if is_urgent(change.before, change.after):
            writer.report(change.owner)

    monitor = Monitor(check=check, changed=changed, clock=clock, rng=random.Random(8))
    writer = StatusWriter(
        kube=cast("Kube", store),
        compose=findings.get,
        snapshots=monitor.snapshots,
        clock=clock,
        rng=random.Random(9),
    )
    policy = HealthPolicy(breaker=BreakerPolicy(enabled=True))
    for uid, found in findings.items():
        writer.seen(uid, store.put(found.name, {"metadata": {"uid": uid, "name": found.name}}))
        names = (f"backend-{number}" for number in range(TARGETS_EACH))
        monitor.set_targets(uid, [Target(name, f"http://{name}.{uid}/mcp", policy, fingerprint=name) for name in names])
        writer.report(uid)
    loops = [asyncio.create_task(monitor.run()), asyncio.create_task(writer.run())]
    await asyncio.sleep(_SETTLED_AFTER_S)
    store.writes.clear()
    before, checks = writer.statistics().heartbeats, check.checks
    await asyncio.sleep(HOUR_S)
    heartbeats = writer.statistics().heartbeats - before
    for loop in loops:
        loop.cancel()
    writes = [store.writes[found.name] for found in findings.values()]
    return {
        "quiet_status_writes": max(writes),
        "quiet_status_writes_min": min(writes),
        "quiet_writes_with_news": sum(writes) - heartbeats,
        "quiet_checks": check.checks - checks,
    }


def breaker_steps() -> dict[str, object]:
    """Checks through the breaker alone, and through the whole record, for a second of CPU: the best of five runs."""
    return {
        "breaker_steps_per_second": round(max(_breaker_rate() for _ in range(5))),
        "tracker_checks_per_second": round(max(_tracker_rate() for _ in range(5))),
    }


def _breaker_rate() -> float:
    """Through every state at random; a step is a whole check: what time does, its begin, its outcome."""
    policy, rng = BreakerPolicy(True, failure_threshold=3, timeout_s=10.0), random.Random(1)
    failing = [rng.random() < 0.7 for _ in range(_STEPS)]
    breaker, now, steps = Breaker(), 0.0, 0
    began = time.process_time()
    for failed in failing:
        now += 100.0
        started = circuits.begin(circuits.passing(breaker, policy, now, 0.5), now, 1.0)
        if started is None:
            continue
        breaker = circuits.failure(started, policy, now, 0.5) if failed else circuits.success(started, policy)
        steps += 1
    return steps / (time.process_time() - began)


def _tracker_rate() -> float:
    """Whole checks of a healthy backend, without the I/O: begin, observe, next due time, snapshot."""
    target = Target("search", "http://search/mcp", HealthPolicy(breaker=BreakerPolicy(enabled=True)))
    record, now, outcome = Record(), 0.0, Outcome(latency_s=0.01, mcp_revision="2025-11-25")
    began = time.process_time()
    for _ in range(_STEPS // 10):
        now += 30.0
        record, _transition = tracker.begin(record, target.policy, now, now, 0.5, 10.5)
        record, _transition = tracker.observe(record, outcome, target, now, now, 0.5)
        tracker.snapshot_of(record, target)
        tracker.next_due(record, target.policy, now, now, 0.5)
    return _STEPS // 10 / (time.process_time() - began)
