"""What reaches the API server: the monitor and the status writer of the operator on an embedded control plane.

Reconcile is left out: what it would say of each object is given. The probes go over real sockets, the writes to a
real API server.
"""

import asyncio
import contextlib
import itertools
import resource
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import uvloop
from bench.health.cheapbackend import Backend, backend
from bench.health.checker import targets

from vmcp.api.kinds import VIRTUAL_MCP_SERVER
from vmcp.health.monitor import Change, Monitor
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.probe import Probe
from vmcp.kube.client import JsonObject, Kube, connect
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.status.findings import DeploymentState, Findings
from vmcp.status.news import is_urgent
from vmcp.status.writer import StatusWriter
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS

OBJECTS: Final = 1000
TARGETS_EACH: Final = 10
STEADY_OBJECTS: Final = 4
SETTLE_S: Final = 3.0
PATIENCE_S: Final = 180.0
_CREATIONS: Final = 16
_NAMESPACE: Final = "default"


class Stage:
    """Objects on the API server, watched and written by the operator's own parts.

    Attributes:
        writes: time and stored status of every write, by UID.
    """

    def __init__(self, kube: Kube, transport: HttpTransport) -> None:
        self._kube = kube
        self._findings: dict[str, Findings] = {}
        self.writes: dict[str, list[tuple[float, JsonObject]]] = defaultdict(list)
        self.stored: dict[str, JsonObject] = {}
        self.monitor = Monitor(check=Probe(transport), changed=self._changed)
        self.writer = StatusWriter(
            kube=kube, compose=self._findings.get, snapshots=self.monitor.snapshots, on_written=self._written
        )

    async def create(self, names: Iterable[str]) -> list[str]:
        """Create VirtualMCPServers of these names; their UIDs."""
        gate = asyncio.Semaphore(_CREATIONS)

        async def one(name: str) -> str:
            async with gate:
                obj = await self._kube.create(VIRTUAL_MCP_SERVER, _virtual_mcp_server(name))
            metadata = obj["metadata"]
            uid: str = metadata["uid"]
            self._findings[uid] = Findings(
                _NAMESPACE, name, uid, metadata["generation"], deployment=DeploymentState.AVAILABLE
            )
            self.writer.seen(uid, obj)
            return uid

        return list(await asyncio.gather(*(one(name) for name in names)))

    async def until_all(self, uids: Iterable[str], met: Callable[[JsonObject], bool]) -> None:
        """Return as soon as every backend in every stored status is so.

        Raises:
            TimeoutError: not within three minutes.
        """
        waiting = set(uids)
        deadline = time.monotonic() + PATIENCE_S
        while waiting := {uid for uid in waiting if not _all_backends(self.stored.get(uid), met)}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting)} objects did not get there")
            await asyncio.sleep(0.05)

    async def lost(self, uids: Iterable[str], met: Callable[[JsonObject], bool]) -> int:
        """How many of the objects do not say so on the API server itself."""
        there = {obj["metadata"]["uid"]: obj["status"] for obj in await self._kube.list(VIRTUAL_MCP_SERVER)}
        return sum(not _all_backends(there[uid], met) for uid in uids)

    def _changed(self, change: Change) -> None:
        if is_urgent(change.before, change.after):
            self.writer.report(change.owner)

    def _written(self, uid: str, obj: JsonObject) -> None:
        self.stored[uid] = obj["status"]
        self.writes[uid].append((time.monotonic(), obj["status"]))


@contextlib.asynccontextmanager
async def _stage(control_plane: ControlPlane) -> AsyncIterator[Stage]:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
    async with connect(str(control_plane.kubeconfig)) as kube:
        stage = Stage(kube, transport)
        loops = [asyncio.create_task(stage.monitor.run()), asyncio.create_task(stage.writer.run())]
        try:
            yield stage
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await transport.close()


def flips() -> dict[str, object]:
    """1,000 objects of 10 backends each; all 10,000 fail at once, with a failure threshold of 1."""
    _raise_limit()
    with backend() as server, ControlPlane(crds=CRDS) as control_plane:
        return uvloop.run(_flips(server, control_plane))


async def _flips(server: Backend, control_plane: ControlPlane) -> dict[str, object]:
    policy = HealthPolicy(unhealthy_threshold=1, breaker=BreakerPolicy(True, failure_threshold=1, timeout_s=600))
    fleet = targets(OBJECTS * TARGETS_EACH, server.port, policy)
    async with _stage(control_plane) as stage:
        uids = await stage.create(f"gate-{number:04}" for number in range(OBJECTS))
        for number, uid in enumerate(uids):
            stage.monitor.set_targets(uid, fleet[number * TARGETS_EACH : (number + 1) * TARGETS_EACH])
        await stage.until_all(uids, _is_ready)
        await asyncio.sleep(SETTLE_S)
        stage.writes.clear()
        await asyncio.to_thread(server.fail)
        began = time.monotonic()
        for uid in uids:
            for snapshot in stage.monitor.snapshots(uid):
                stage.monitor.probe_now(uid, snapshot.name)
        await stage.until_all(uids, _is_open)
        took = time.monotonic() - began
        await asyncio.sleep(SETTLE_S)
        lost = await stage.lost(uids, _is_open)
        writes = [len(stage.writes[uid]) for uid in uids]
        gaps = [_smallest_gap([at for at, _ in stage.writes[uid]]) for uid in uids]
    return {
        "flip_objects": OBJECTS,
        "flip_targets": OBJECTS * TARGETS_EACH,
        "flip_writes_per_object": max(writes),
        "flip_writes_per_object_mean": round(statistics.mean(writes), 2),
        "flip_all_final_after_s": round(took, 2),
        "flip_smallest_gap_s": round(min(gaps), 2) if min(gaps) < float("inf") else None,
        "flip_final_states_lost": lost,
    }


def opening() -> dict[str, object]:
    """Backends that refuse, and others that hang, at the defaults with the breaker on: when the CR says open."""
    _raise_limit()
    with (
        backend() as refuses,
        backend() as hangs,
        backend() as stays,
        ControlPlane(crds=CRDS) as control_plane,
    ):
        return uvloop.run(_opening(refuses, hangs, stays, control_plane))


async def _opening(refuses: Backend, hangs: Backend, stays: Backend, control_plane: ControlPlane) -> dict[str, object]:
    policy = HealthPolicy(breaker=BreakerPolicy(enabled=True))
    async with _stage(control_plane) as stage:
        refused, hung = await stage.create(["refuses", "hangs"])
        stage.monitor.set_targets(refused, targets(TARGETS_EACH, refuses.port, policy))
        stage.monitor.set_targets(hung, targets(TARGETS_EACH, hangs.port, policy))
        # Most of the fleet stays well: else the prober would doubt itself.
        steady = await stage.create(f"stays-{number}" for number in range(STEADY_OBJECTS))
        fleet = targets(STEADY_OBJECTS * TARGETS_EACH, stays.port, policy)
        for number, uid in enumerate(steady):
            stage.monitor.set_targets(uid, fleet[number * TARGETS_EACH : (number + 1) * TARGETS_EACH])
        await stage.until_all([refused, hung, *steady], _is_ready)
        await asyncio.sleep(SETTLE_S)
        stage.writes.clear()
        refuses.process.signal(signal.SIGKILL)
        hangs.process.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            for uid in (refused, hung):
                for snapshot in stage.monitor.snapshots(uid):
                    stage.monitor.probe_now(uid, snapshot.name)
            await stage.until_all([refused, hung], _is_open)
        finally:
            hangs.process.signal(signal.SIGCONT)
        after = {uid: _opened_after(stage.writes[uid], began) for uid in (refused, hung)}
    return {
        "open_after_first_failure_s": round(max(after[refused]), 2),
        "open_after_first_failure_median_s": round(statistics.median(after[refused]), 2),
        "open_after_hang_s": round(max(after[hung]), 2),
    }


def _opened_after(writes: list[tuple[float, JsonObject]], began: float) -> list[float]:
    """For each backend, when a stored status first said that its circuit is open. From the start of its check."""
    first: dict[str, float] = {}
    for at, status in writes:
        for found in status["discoveredBackends"]:
            if _is_open(found):
                first.setdefault(found["name"], at - began)
    return list(first.values())


def _all_backends(status: JsonObject | None, met: Callable[[JsonObject], bool]) -> bool:
    backends = (status or {}).get("discoveredBackends", ())
    return len(backends) == TARGETS_EACH and all(met(found) for found in backends)


def _is_ready(found: JsonObject) -> bool:
    return bool(found["status"] == "ready")


def _is_open(found: JsonObject) -> bool:
    return bool(found["status"] == "unavailable" and found["circuitBreakerState"] == "open")


def _smallest_gap(times: list[float]) -> float:
    return min((later - earlier for earlier, later in itertools.pairwise(times)), default=float("inf"))


def _virtual_mcp_server(name: str) -> JsonObject:
    return {
        "apiVersion": VIRTUAL_MCP_SERVER.api_version,
        "kind": VIRTUAL_MCP_SERVER.name,
        "metadata": {"namespace": _NAMESPACE, "name": name},
        "spec": {"groupRef": {"name": "tools"}, "incomingAuth": {"type": "anonymous"}},
    }


def _raise_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
