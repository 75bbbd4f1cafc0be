"""One operator without its loops, in the test's own process: it looks at the cluster when told to."""

from typing import Any

from tests.api import samples

from vmcp.api.kinds import MCP_GROUP, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER, Kind
from vmcp.handlers.resync import Resync
from vmcp.health.clock import SystemClock
from vmcp.health.monitor import Check, Monitor
from vmcp.health.outcome import Outcome
from vmcp.health.target import Target
from vmcp.kube.client import JsonObject, Kube
from vmcp.kube.kinds import DEPLOYMENT
from vmcp.reconcile.cache import Cache, Key
from vmcp.reconcile.reconciler import Reconciler
from vmcp.status.findings import Findings
from vmcp.status.writer import StatusWriter


class NeverChecked(Check):
    """The monitor's loop does not run here."""

    async def check(self, target: Target) -> Outcome:
        raise AssertionError

    def forget(self, target: Target) -> None:
        pass


class Process:
    """An operator but for its loops: it looks at the cluster when told to."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.cache = Cache()
        self.monitor = Monitor(check=NeverChecked(), changed=lambda change: None)
        self.writer = StatusWriter(kube=kube, compose=lambda uid: None, snapshots=lambda uid: ())
        self.resync = Resync(kube=kube, cache=self.cache, add=lambda key: None, namespaces=[namespace])
        self.reconciler = Reconciler(
            kube=kube,
            cache=self.cache,
            monitor=self.monitor,
            writer=self.writer,
            clock=SystemClock(),
            image="example.com/vmcp:1",
        )


class Stage:
    """One namespace, and an operator that serves it."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self.process = Process(kube, namespace)
        self.again: float | None = None

    def restart(self) -> None:
        self.process = Process(self.kube, self.namespace)

    async def create(self, kind: Kind, body: JsonObject, name: str) -> JsonObject:
        return await self.kube.create(kind, body | {"metadata": {"namespace": self.namespace, "name": name}})

    async def change(self, **spec: Any) -> None:
        await self.kube.patch(VIRTUAL_MCP_SERVER, self.namespace, "gate", {"spec": spec})

    async def reconcile(self) -> Findings:
        """What is found of `gate`."""
        await self.process.resync.fill()
        self.again = await self.process.reconciler.reconcile(Key(VIRTUAL_MCP_SERVER.plural, self.namespace, "gate"))
        owner = await self.kube.get(VIRTUAL_MCP_SERVER, self.namespace, "gate")
        self.uid: str = owner["metadata"]["uid"]
        found = self.process.reconciler.findings(self.uid)
        assert found is not None
        assert found.generation == owner["metadata"]["generation"]
        return found

    async def owner(self) -> JsonObject:
        return await self.kube.get(VIRTUAL_MCP_SERVER, self.namespace, "gate")

    async def deployment(self) -> JsonObject:
        return await self.kube.get(DEPLOYMENT, self.namespace, "gate")

    def backends(self) -> dict[str, str]:
        """URLs of the backends that the status would show, by name."""
        return {snapshot.name: snapshot.url for snapshot in self.process.reconciler.snapshots(self.uid)}


async def set_out(kube: Kube, namespace: str) -> Stage:
    """A VirtualMCPServer `gate` with one entry, `remote`, in the group `team`; nothing is reconciled yet."""
    stage = Stage(kube, namespace)
    await stage.create(MCP_GROUP, samples.manifest("MCPGroup", {}), "team")
    await stage.create(MCP_SERVER_ENTRY, samples.entry(), "remote")
    await stage.create(VIRTUAL_MCP_SERVER, samples.vmcp(), "gate")
    return stage
