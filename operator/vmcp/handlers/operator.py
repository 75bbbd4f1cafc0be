"""The operator as one process: every part, and how they are joined. Each loop has one owner, this task group."""

import asyncio
import logging
import os
import socket
from dataclasses import dataclass

from vmcp.handlers.inbox import Inbox, Seen
from vmcp.handlers.queue import KeyedQueue
from vmcp.handlers.resync import Resync
from vmcp.handlers.watching import Watching, watch
from vmcp.health.clock import SystemClock
from vmcp.health.monitor import Change, Monitor
from vmcp.health.probe import Probe
from vmcp.kube.client import Kube, connect
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.reconcile.affected import affected
from vmcp.reconcile.cache import Cache, Key
from vmcp.reconcile.reconciler import Reconciler
from vmcp.status.events import EventRecorder, Reference
from vmcp.status.news import is_urgent
from vmcp.status.writer import StatusWriter

DRAIN_S = 5.0
"""What was found in the last second is written within this, at a stop."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """How the operator runs.

    Attributes:
        kubeconfig: path; None = as the pod that this process runs in.
        namespaces: which are served; empty = all.
        image: of the gateways.
        allow_loopback: let probes reach loopback addresses: for development on one machine.
        liveness_endpoint: URL to answer on, such as `http://0.0.0.0:8080/healthz`; empty = none.
    """

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    image: str = ""
    allow_loopback: bool = False
    liveness_endpoint: str = ""


async def operate(options: OperatorOptions) -> None:
    """Run until cancelled. Raises what ends a loop that must not end."""
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = options.kubeconfig
    guard = AddressGuard(refused=await _own_addresses(), allow_loopback=options.allow_loopback)
    transport = HttpTransport(guard=guard)
    try:
        async with connect(options.kubeconfig) as kube:
            await _Operator(kube, transport, options).run()
    finally:
        await transport.close()


class _Operator:
    def __init__(self, kube: Kube, transport: HttpTransport, options: OperatorOptions) -> None:
        self._options = options
        self._cache = Cache()
        self._queue: KeyedQueue[Key] = KeyedQueue()
        clock = SystemClock()
        self._monitor = Monitor(check=Probe(transport), changed=self._changed, clock=clock)
        self._writer = StatusWriter(
            kube=kube,
            compose=lambda uid: self._reconciler.findings(uid),
            snapshots=lambda uid: self._reconciler.snapshots(uid),
            clock=clock,
        )
        self._reconciler = Reconciler(
            kube=kube,
            cache=self._cache,
            monitor=self._monitor,
            writer=self._writer,
            clock=clock,
            image=options.image,
        )
        self._events = EventRecorder(kube=kube, instance=socket.gethostname(), clock=clock)
        self._resync = Resync(kube=kube, cache=self._cache, add=self._queue.add, namespaces=options.namespaces)

    async def run(self) -> None:
        inbox = Inbox(asyncio.get_running_loop(), self._seen)
        watching = Watching(self._options.namespaces, self._options.liveness_endpoint)
        await self._resync.fill()
        log.info("caches are filled; watching %s", ", ".join(self._options.namespaces) or "all namespaces")
        try:
            await self._serve(inbox, watching)
        finally:
            await self._writer.drain(DRAIN_S)

    async def _serve(self, inbox: Inbox, watching: Watching) -> None:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(watch(inbox, watching), name="watch")
            loops.create_task(self._resync.run(), name="resync")
            loops.create_task(self._queue.run(self._reconciler.reconcile), name="reconcile")
            loops.create_task(self._monitor.run(), name="monitor")
            loops.create_task(self._writer.run(), name="status")
            loops.create_task(self._events.run(), name="events")

    def _seen(self, seen: Seen) -> None:
        """An event of a watch: remember the object, and reconcile whom it concerns, before and after."""
        key = Key.of(seen.kind, seen.obj)
        before = self._cache.drop(key) if seen.deleted else self._cache.put(seen.kind, seen.obj)
        if seen.listed:
            self._resync.listed()
        if before is not None and before["metadata"]["resourceVersion"] == seen.obj["metadata"]["resourceVersion"]:
            return
        for obj in (before, seen.obj):
            if obj is not None:
                for concerned in affected(seen.kind, obj, self._cache):
                    self._queue.add(concerned)

    def _changed(self, change: Change) -> None:
        """A check is over, or a circuit moved."""
        if is_urgent(change.before, change.after):
            self._writer.report(change.owner)
        found = self._reconciler.findings(change.owner)
        if change.transition is not None and found is not None:
            about = Reference(found.namespace, found.name, found.uid)
            self._events.transition(about, change.after, change.transition)
            log.info(
                "%s/%s backend %s: circuit %s -> %s, %s",
                found.namespace,
                found.name,
                change.after.name,
                change.transition.before,
                change.transition.after,
                change.transition.reason,
            )


async def _own_addresses() -> list[str]:
    """The API server's address and this machine's own: no probe may be led there."""
    loop = asyncio.get_running_loop()
    hosts = [host for host in (os.environ.get("KUBERNETES_SERVICE_HOST"), socket.gethostname()) if host]
    addresses = []
    for host in hosts:
        try:
            async with asyncio.timeout(5):
                found = await loop.getaddrinfo(host, None)
        except (OSError, TimeoutError):
            continue
        addresses += [str(entry[4][0]) for entry in found]
    return addresses
