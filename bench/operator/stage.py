"""An embedded control plane, the operator as a process of its own, the backends, and what is seen of it all."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from bench.operator.objects import Fleet, JsonObject, gateway_name
from bench.process import Contestant, ours
from bench.soak.samples import Reading, read

from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.cluster import Cluster, Refused, Unreachable, connect
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS
from vmcp_dev.operatorprocess import start_operator
from vmcp_dev.ports import free_port

AT_ONCE: Final = 32
"""Requests of the bench that are under way at a time, where many are made."""
OURS: Final = "labelSelector=app.kubernetes.io/name%3Dvirtualmcpserver"
PATIENCE_S: Final = 900.0
_LOOK_EVERY_S: Final = 0.25
_AGAIN_S: Final = 0.2
_QUIET_S: Final = 5.0
_ATTEMPTS: Final = 6
_PLURALS: Final = {
    "MCPGroup": "mcpgroups",
    "MCPServerEntry": "mcpserverentries",
    "VirtualMCPServer": "virtualmcpservers",
}
MERGE: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"

T = TypeVar("T")


@dataclass(slots=True)
class Stage:
    """See the module's text.

    Attributes:
        tasks: what runs as long as the stage does.
        watches: those of them that have no end of their own.
    """

    control_plane: ControlPlane
    cluster: Cluster
    backends: Contestant
    operator: ChildProcess
    metrics_port: int
    backends_port: int
    tasks: asyncio.TaskGroup
    watches: list[asyncio.Task[None]] = field(default_factory=list)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def apply(self, obj: JsonObject) -> None:
        """Server-side apply of an object of ours, again where the API server is too busy to answer."""
        metadata = obj["metadata"]
        path = collection(metadata["namespace"], _PLURALS[obj["kind"]])
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(Unreachable):
                await self.cluster.call(
                    "PATCH", f"{path}/{metadata['name']}?fieldManager=bench", obj, content_type=_APPLY
                )
                return
        raise TimeoutError(f"the API server does not answer: {path}/{metadata['name']}")

    async def annotate(self, fleet: Fleet, number: int, annotations: dict[str, str]) -> None:
        """Set annotations of a VirtualMCPServer of the fleet."""
        path = f"{collection(fleet.namespace, _PLURALS['VirtualMCPServer'])}/{gateway_name(number)}"
        await self.cluster.call("PATCH", path, {"metadata": {"annotations": annotations}}, content_type=MERGE)

    async def prepare(self, fleet: Fleet) -> None:
        """Namespace, groups and backends of a fleet; returns when the operator has taken note of them."""
        await self.cluster.call("POST", "/api/v1/namespaces", {"metadata": {"name": fleet.namespace}})
        await at_once(self.apply(fleet.group(number)) for number in fleet.numbers)
        await at_once(self.apply(entry) for number in fleet.numbers for entry in fleet.entries(number))
        await self.until_idle()

    async def until_idle(self) -> None:
        """Return when the operator has reconciled nothing for five seconds."""
        done, since = -1.0, time.monotonic()
        deadline = since + PATIENCE_S
        while time.monotonic() - since < _QUIET_S:
            if time.monotonic() > deadline:
                raise TimeoutError("the operator does not come to rest")
            totals = (await self.reading()).totals
            if (now := totals["vmcp_reconciles_total"]) != done or totals["vmcp_queue_depth"]:
                done, since = now, time.monotonic()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def reading(self) -> Reading:
        """CPU, memory and metrics of the operator now.

        Raises:
            RuntimeError: it ended.
        """
        if not self.operator.running:
            raise RuntimeError(f"the operator ended:\n{self.operator.tail()}")
        return await asyncio.to_thread(read, self.operator.pid, self.metrics_port)

    async def tell_backends(self, command: str) -> dict[str, float]:
        """See `bench.operator.backend`."""
        async with self._asking:
            answer: dict[str, float] = await asyncio.to_thread(self.backends.ask, command)
        return answer

    async def watch(self, path: str, query: str, see: Callable[[str, JsonObject], None]) -> None:
        """Show `see` every event of a collection for as long as the stage lasts; returns once it was listed."""
        listed = asyncio.Event()

        async def follow() -> None:
            while True:
                try:
                    async for event, obj in self.cluster.watch(path, query):
                        for each in obj.get("items", []) if event == "LISTED" else [obj]:
                            see("MODIFIED" if event == "LISTED" else event, each)
                        listed.set()
                except (Refused, Unreachable):
                    await asyncio.sleep(_AGAIN_S)

        self.watches.append(self.tasks.create_task(follow(), name=f"watch {path}"))
        await asyncio.wait_for(listed.wait(), PATIENCE_S)


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Bring everything up; the operator is ready."""
    with ours("bench.operator.backend", core=1) as backends, ControlPlane(crds=CRDS, audit=True) as control_plane:
        log = control_plane.folder / "logs" / "operator.log"
        port = free_port()
        operator = start_operator(control_plane.kubeconfig, log=log, arguments=[f"--listen=127.0.0.1:{port}"])
        try:
            async with connect(control_plane.kubeconfig) as cluster, asyncio.TaskGroup() as tasks:
                made = Stage(control_plane, cluster, backends, operator, port, int(backends.line()), tasks)
                await until(lambda: _answers(made), "the operator answers")
                yield made
                for watch in made.watches:
                    watch.cancel()
        finally:
            operator.stop(20)


def collection(namespace: str, plural: str) -> str:
    """The path of our objects of a kind in a namespace; of all where it is empty."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/toolhive.stacklok.dev/v1beta1{scope}/{plural}"


async def at_once(works: Iterable[Awaitable[T]]) -> list[T]:
    """Do all of it, so many at a time; the results in order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(work: Awaitable[T]) -> T:
        async with gate:
            return await work

    return await asyncio.gather(*(one(work) for work in works))


async def until(met: Callable[[], Awaitable[bool] | bool], what: str) -> None:
    """Return as soon as it is so.

    Raises:
        TimeoutError: it is not, within 15 minutes.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = met()
        if found if isinstance(found, bool) else await found:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {PATIENCE_S:.0f} s: {what}")
        await asyncio.sleep(0.02)


async def _answers(made: Stage) -> bool:
    try:
        return "vmcp_queue_depth" in (await made.reading()).totals
    except OSError:
        return False
