"""One VirtualMCPServer on a real API server with a status writer, and what reconcile and health would say of it."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from vmcp.api.kinds import VIRTUAL_MCP_SERVER
from vmcp.health.snapshot import Health, Snapshot
from vmcp.kube.client import JsonObject, Kube
from vmcp.status.events import EventRecorder
from vmcp.status.findings import DeploymentState, Findings
from vmcp.status.writer import StatusWriter
from vmcp_dev.kubectl import Kubectl

PATIENCE_S = 90.0
HEALTHY = Snapshot("search", "http://search:8080/mcp", "f1", Health.HEALTHY)


class World:
    """One VirtualMCPServer, and what reconcile and health would say of it."""

    def __init__(self, kube: Kube, obj: JsonObject) -> None:
        self.kube = kube
        self.obj = obj
        self.uid: str = obj["metadata"]["uid"]
        self.namespace: str = obj["metadata"]["namespace"]
        self.name: str = obj["metadata"]["name"]
        self.findings: Findings | None = Findings(
            self.namespace,
            self.name,
            self.uid,
            generation=obj["metadata"]["generation"],
            url=f"http://vmcp-{self.name}.{self.namespace}.svc.cluster.local:4483",
            deployment=DeploymentState.AVAILABLE,
        )
        self.backends: tuple[Snapshot, ...] = (HEALTHY,)
        self.written: list[JsonObject] = []
        self.writer = StatusWriter(
            kube=kube,
            compose=lambda uid: self.findings if uid == self.uid else None,
            snapshots=lambda uid: self.backends,
            rng=random.Random(1),
            on_written=lambda uid, obj: self.written.append(obj),
        )

    async def stored(self) -> JsonObject:
        return await self.kube.get(VIRTUAL_MCP_SERVER, self.namespace, self.name)

    async def version(self) -> str:
        obj = await self.stored()
        return str(obj["metadata"]["resourceVersion"])

    async def until(self, met: Callable[[JsonObject], bool]) -> JsonObject:
        """The stored object's status as soon as it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status: JsonObject = (await self.stored()).get("status", {})
            if met(status):
                return status
            assert time.monotonic() < deadline, status
            await asyncio.sleep(0.05)

    async def turns(self, count: int) -> None:
        """The writer has looked at the object that many times more."""
        until = self.seen_turns() + count
        await eventually(lambda: self.seen_turns() >= until)

    def seen_turns(self) -> int:
        counts = self.writer.statistics()
        return counts.writes + counts.suppressed

    async def another_hand(self, kubectl: Kubectl, status: JsonObject) -> None:
        """kubectl changes the status."""
        patch = json.dumps({"status": status})
        arguments = ("patch", f"vmcp/{self.name}", "--subresource=status", "--type=merge", f"-p={patch}")
        await asyncio.to_thread(kubectl, "-n", self.namespace, *arguments)


async def make_world(kube: Kube, namespace: str, name: str = "gate") -> World:
    """Create the object; its writer does not run yet."""
    obj = await kube.create(
        VIRTUAL_MCP_SERVER,
        {
            "apiVersion": VIRTUAL_MCP_SERVER.api_version,
            "kind": VIRTUAL_MCP_SERVER.name,
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"groupRef": {"name": "tools"}, "incomingAuth": {"type": "anonymous"}},
        },
    )
    return World(kube, obj)


async def eventually(met: Callable[[], bool]) -> None:
    """Return as soon as it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*loops: StatusWriter | EventRecorder) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def ready(status: JsonObject) -> str:
    return next((c["status"] for c in status.get("conditions", ()) if c["type"] == "Ready"), "")
