"""The operator as one process: every part, and how they are joined. Each loop has one owner, this task group."""

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from vmcp.api.kinds import MCP_SERVER
from vmcp.handlers.inbox import Inbox, Seen
from vmcp.handlers.leases import Leases
from vmcp.handlers.queue import KeyedQueue
from vmcp.handlers.resync import Resync
from vmcp.handlers.watchage import WatchAge
from vmcp.handlers.watching import Watching, watch
from vmcp.health.clock import SystemClock
from vmcp.health.monitor import Change, Monitor
from vmcp.health.probe import Probe
from vmcp.health.snapshot import Circuit, Snapshot, Transition, told_of
from vmcp.kube.client import Kube, connect
from vmcp.kube.kinds import LEASE
from vmcp.kube.lease import Alone, Leadership, Lease, LeaseLost, identity, lease_name, own_namespace
from vmcp.kube.ownaccount import own_account
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.process.filelimit import FileLimit
from vmcp.process.garbage import search_rarely
from vmcp.process.listener import Address, Listener, Page
from vmcp.process.measured import MeasuredCheck
from vmcp.process.metrics import Metrics, Sources
from vmcp.process.schemacheck import SchemaCheck
from vmcp.process.tracing import Tracing, tracing
from vmcp.process.vitals import Vitals
from vmcp.reconcile.affected import affected
from vmcp.reconcile.cache import Cache, Key
from vmcp.reconcile.reconciler import Reconciler
from vmcp.reconcile.workloads.servers import Servers
from vmcp.status.events import EventRecorder, Reference
from vmcp.status.news import is_urgent, may_wait_s
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
        listen: where `/healthz`, `/readyz` and `/metrics` are answered; None = nowhere.
        leader_elect: work only while holding the Lease, so that a second process may wait for it.
        lease_namespace: where that Lease is; empty = the namespace of this pod.
        lease_name: of that Lease; empty = one for the namespaces that are served.
        manage_mcpservers: run MCPServers; otherwise another operator does, and they are only read.
    """

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    image: str = ""
    allow_loopback: bool = False
    listen: Address | None = None
    leader_elect: bool = False
    lease_namespace: str = ""
    lease_name: str = ""
    manage_mcpservers: bool = True


async def operate(options: OperatorOptions) -> int:
    """Run until cancelled, or until the Lease is lost, which gives exit status 1.

    Raises what ends a loop that must not end.
    """
    search_rarely()
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = options.kubeconfig
    guard = AddressGuard(refused=await _own_addresses(), allow_loopback=options.allow_loopback)
    transport = HttpTransport(guard=guard)
    probe = Probe(transport)
    traced = tracing()
    status = 0
    try:
        async with connect(options.kubeconfig) as kube:
            await _Operator(kube, probe, options, traced).run()
    except* LeaseLost as lost:
        log.error("ending, since another operator may work now: %s", _first(lost))
        status = 1
    finally:
        await probe.close()
        await transport.close()
        await asyncio.to_thread(traced.shutdown)
    return status


def _leadership(kube: Kube, options: OperatorOptions) -> Leadership:
    if not options.leader_elect:
        return Alone()
    namespace = options.lease_namespace or own_namespace()
    return Lease(
        kube=kube,
        namespace=namespace,
        name=options.lease_name or lease_name(options.namespaces),
        identity=identity(),
        owner=own_account(namespace),
    )


class _Operator:
    def __init__(self, kube: Kube, probe: Probe, options: OperatorOptions, traced: Tracing) -> None:
        self._options = options
        self._traced = traced
        self._leadership = _leadership(kube, options)
        # Whatever writes for the leader asks before each write whether this still is the leader.
        writing = kube.fenced(self._leadership.check)
        self._cache = Cache()
        self._queue: KeyedQueue[Key] = KeyedQueue()
        self._files = FileLimit()
        self._age = WatchAge()
        self._schema = SchemaCheck(kube)
        self._filled = False
        self._transitions: Counter[tuple[Circuit, Circuit]] = Counter()
        clock = SystemClock()
        self._check = MeasuredCheck(probe)
        self._monitor = Monitor(
            check=traced.check(self._check),
            changed=self._changed,
            doubted=lambda uid: self._writer.report(uid),
            clock=clock,
        )
        self._writer = StatusWriter(
            kube=writing,
            compose=lambda uid: self._reconciler.findings(uid),
            snapshots=lambda uid: self._reconciler.snapshots(uid),
            clock=clock,
        )
        self._reconciler = Reconciler(
            kube=writing,
            cache=self._cache,
            monitor=self._monitor,
            writer=self._writer,
            clock=clock,
            image=options.image,
            servers=Servers(kube=writing, cache=self._cache, clock=clock, proxy_image=options.image)
            if options.manage_mcpservers
            else None,
        )
        self._events = EventRecorder(kube=writing, instance=socket.gethostname(), clock=clock)
        self._resync = Resync(
            kube=kube,
            cache=self._cache,
            add=self._queue.add,
            namespaces=options.namespaces,
            with_servers=options.manage_mcpservers,
        )
        self._leases = Leases(monitor=self._monitor, key_of=self._reconciler.key_of, now=clock.monotonic)
        self._vitals = Vitals(
            now=clock.monotonic,
            filled=lambda: self._filled,
            watching=lambda: self._age.has_opened,
            schema_problem=lambda: self._schema.problem,
            leading=lambda: self._leadership.held,
            last_turn=lambda: self._monitor.statistics().last_turn,
            watch_heard=lambda: self._age.last,
            api_answered=lambda: kube.answered_at,
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as parts:
            if self._options.listen is not None:
                listener = Listener(self._options.listen, self._pages())
                parts.create_task(listener.run(), name="listen")
            parts.create_task(self._schema.run(), name="schema")
            parts.create_task(self._follow(), name="follow")

    async def _follow(self) -> None:
        """Keep the caches warm, and lead as soon as this process may."""
        inbox = Inbox(asyncio.get_running_loop(), self._seen)
        await self._resync.fill()
        self._filled = True
        log.info("caches are filled; watching %s", ", ".join(self._options.namespaces) or "all namespaces")
        async with asyncio.TaskGroup() as loops:
            watching = Watching(self._age, self._options.namespaces, self._options.manage_mcpservers)
            loops.create_task(watch(inbox, watching), name="watch")
            loops.create_task(self._resync.run(), name="resync")
            loops.create_task(self._lead(), name="lead")

    async def _lead(self) -> None:
        """Wait for leadership, work, and give it back last of all: nothing is written without it."""
        await self._leadership.acquire()
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._leadership.keep(), name="lease")
                loops.create_task(self._queue.run(self._traced.reconcile(self._reconcile)), name="reconcile")
                loops.create_task(self._monitor.run(), name="monitor")
                loops.create_task(self._writer.run(), name="status")
                loops.create_task(self._events.run(), name="events")
        finally:
            if self._leadership.held:
                await self._writer.drain(DRAIN_S)
                await self._leadership.release()

    async def _reconcile(self, key: Key) -> float | None:
        again = await self._reconciler.reconcile(key)
        self._files.judge(self._monitor.statistics().keys)
        return again

    def _pages(self) -> dict[str, Callable[[], Page]]:
        metrics = Metrics(
            Sources(
                leading=lambda: self._leadership.held,
                objects=lambda: [(found, self._reconciler.snapshots(found.uid)) for found in self._reconciler.known()],
                scheduler=self._monitor.statistics,
                doubting=lambda: self._monitor.is_doubting,
                writer=self._writer.statistics,
                events=self._events.statistics,
                queue=self._queue.statistics,
                watch_age_s=lambda: self._age.seconds,
                check=self._check,
                transitions=self._transitions,
            )
        )
        return {"/healthz": self._vitals.healthz, "/readyz": self._vitals.readyz, "/metrics": metrics.page}

    def _seen(self, seen: Seen) -> None:
        """An event of a watch: remember the object, and reconcile whom it concerns, before and after."""
        key = Key.of(seen.kind, seen.obj)
        before = self._cache.drop(key) if seen.deleted else self._cache.put(seen.kind, seen.obj)
        if seen.listed:
            self._resync.listed()
        if before is not None and before["metadata"]["resourceVersion"] == seen.obj["metadata"]["resourceVersion"]:
            return
        if before is not None and not seen.deleted:
            if seen.kind == LEASE and self._leases.changed(before, seen.obj):
                return
            if seen.kind == MCP_SERVER:
                self._reconciler.server_changed(before, seen.obj)
        for obj in (before, seen.obj):
            if obj is not None:
                for concerned in affected(seen.kind, obj, self._cache):
                    self._queue.add(concerned)

    def _changed(self, change: Change) -> None:
        """A check is over, or a circuit moved."""
        if is_urgent(change.before, change.after):
            self._writer.report(change.owner, within_s=may_wait_s(change.transition))
        if change.transition is not None:
            self._transitions[change.transition.before, change.transition.after] += 1
        key = self._reconciler.key_of(change.owner)
        if key is None:
            return
        about = Reference(key.namespace, key.name, change.owner)
        if change.before.override != change.after.override:
            self._events.override(about, change.before, change.after)
            _log_override(key, change.before, change.after)
        if change.transition is not None:
            self._events.transition(about, change.after, change.transition)
            _log_transition(key, change.after, change.transition)


def _log_override(key: Key, before: Snapshot, after: Snapshot) -> None:
    facts = {
        "namespace": key.namespace,
        "name": key.name,
        "backend": after.name,
        "from": told_of(before.override) if before.override else "not overruled",
        "to": told_of(after.override) if after.override else "not overruled",
    }
    log.info("%s/%s backend %s: %s -> %s", *facts.values(), extra={"facts": facts})


def _log_transition(key: Key, backend: Snapshot, transition: Transition) -> None:
    text = "%s/%s backend %s: circuit %s -> %s, %s"
    facts = {
        "namespace": key.namespace,
        "name": key.name,
        "backend": backend.name,
        "from": str(transition.before),
        "to": str(transition.after),
        "reason": transition.reason,
    }
    log.info(text, *facts.values(), extra={"facts": facts})


def _first(group: BaseExceptionGroup[LeaseLost]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


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
