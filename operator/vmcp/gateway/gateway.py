"""One gateway: its parts, wired, and what they do together."""

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from vmcp import __version__
from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.gateway.accesslog import AccessLog
from vmcp.gateway.catalog import Catalog
from vmcp.gateway.changes import Changes
from vmcp.gateway.dialogue import Dialogues
from vmcp.gateway.edge import Edge
from vmcp.gateway.filewatch import watch_file
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.hint import Hint
from vmcp.gateway.hosts import Hosts, is_loopback_address
from vmcp.gateway.kubewatch import ObjectWatch
from vmcp.gateway.lane import Lanes
from vmcp.gateway.legacy import Legacy, own_welcome
from vmcp.gateway.links import MAX_LINKS, Links
from vmcp.gateway.listing import Listed
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.modern import Modern
from vmcp.gateway.outside import Outside
from vmcp.gateway.pages import Pages
from vmcp.gateway.passive import Ear, Passive
from vmcp.gateway.passthrough import Passthrough
from vmcp.gateway.router import Router
from vmcp.gateway.seal import Seal
from vmcp.gateway.secretheaders import lacks_secret_header
from vmcp.gateway.sessions import Sessions
from vmcp.gateway.settings import (
    Home,
    Refused,
    ServeOptions,
    of_the_user,
    servable,
)
from vmcp.gateway.sharing.replicas import Replicas
from vmcp.gateway.sharing.storage import Storage
from vmcp.gateway.tracing import SERVICE, Tracing
from vmcp.gateway.upstream import Upstream
from vmcp.gateway.view import View
from vmcp.gateway.workers.colleagues import Colleagues
from vmcp.gateway.workers.mail import Mail
from vmcp.gateway.workers.moving import Arrivals
from vmcp.gateway.workers.team import LEADER
from vmcp.health.probe import Probe
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.otlp import collector

log = logging.getLogger(__name__)

STATUS_WAIT_S: Final = 5.0
"""Ready without a first look at the status after this: an API server that is away must not keep every gateway down."""
SWEEP_S: Final = 30.0
CONFIG_KEY: Final = "config.yaml"
KEPT_HEADS: Final = 2048
"""Of requests to backends. Modern names in each what it asks for, and URIs are without number."""


class Gateway:
    """The parts of one gateway, wired. Make it inside the task group that owns its tasks."""

    def __init__(
        self,
        options: ServeOptions,
        config: GatewayConfig,
        home: Home | None,
        tasks: asyncio.TaskGroup,
        seal: Seal,
        mail: Mail | None = None,
        storage: Storage | None = None,
    ) -> None:
        self._options = options
        self._home = home
        self._tasks = tasks
        self._config = config
        self._closed = ""
        self._stopping = ""
        self._draining = False
        self._waiting_for = "" if home is None else "waiting for the first look at the status"
        guard = AddressGuard(
            refused=_api_server_address(),
            # On a laptop the backends are on loopback; in a Pod loopback is the gateway itself.
            allow_loopback=home is None or os.environ.get("VMCP_ALLOW_LOOPBACK", "") in ("1", "true"),
        )
        backends = HttpTransport(guard=guard, kept_heads=KEPT_HEADS)
        self._transports = [backends]
        self._changes = Changes()
        self._metrics = Metrics()
        # In a Pod, what comes over loopback is a sidecar or a port-forward, under whatever name.
        self._hosts = Hosts(local=home is None and is_loopback_address(options.host))
        self._passthrough = Passthrough()
        catalog = Catalog(self._changes)
        self.fleet = Fleet(transport=backends, catalog=catalog, metrics=self._metrics, tasks=tasks, version=__version__)
        self._hint: Hint | None = None
        self._passive: Passive | None = None
        self._view: View | None = None
        if mail is None or mail.index == LEADER:
            probe = Probe(backends)
            self._passive = Passive(guard=self.fleet.guard, metrics=self._metrics, check=probe, tell=self)
            self._view = View(fleet=self.fleet, passive=self._passive, check=probe, reported=home is not None)
        else:
            self._waiting_for = "waiting for the worker that watches"
        self._colleagues: Colleagues | None = None
        if mail is not None:
            self._colleagues = Colleagues(
                mail,
                fleet=self.fleet,
                passive=self._passive,
                metrics=self._metrics.exposition,
                reconfigure=self.reconfigure,
                informed=self._informed,
                waiting=lambda: self._waiting_for,
                draining=lambda: self._draining,
                tasks=tasks,
            )
        colleagues = self._colleagues
        follower = colleagues.follower if colleagues else None
        ear: Ear | None = self._passive or follower
        assert ear is not None
        # Sessions of single clients with backends: many long streams, which must not take the place of calls.
        aside = HttpTransport(guard=guard, connections_per_origin=MAX_LINKS, kept_heads=KEPT_HEADS)
        self._transports.append(aside)
        self._links = links = Links(transport=aside, tasks=tasks, version=__version__)
        self.fleet.on_flip = links.flipped
        outside = Outside(
            links=links, stale=self.fleet.stale, route=catalog.owner, tasks=tasks, upstream=self._upstream
        )
        self.sessions = Sessions(
            self._changes,
            seal=seal,
            ended=outside.ended,
            is_here=colleagues.moving.is_here if colleagues else None,
        )
        self._replicas: Replicas | None = None
        if storage is not None:
            self._metrics.observe_storage(lambda: storage.present)
            storage.on_failure = self._metrics.storage_failed
            self._replicas = Replicas(storage, seal=seal, sessions=self.sessions, outside=outside, tasks=tasks)
            self.sessions.parted = self._replicas.parted
            outside.remember = self._replicas.remember
        self._dialogues = Dialogues(
            link=outside.link,
            passive=ear,
            stale=self.fleet.stale,
            tasks=tasks,
            place=colleagues.place if colleagues else "",
        )
        self._collector = collector(SERVICE)
        tracing = None if self._collector is None else Tracing(self._collector.tracer)
        self._router = Router(
            fleet=self.fleet,
            catalog=catalog,
            metrics=self._metrics,
            dialogues=self._dialogues,
            own=outside.read,
            tasks=tasks,
            access=AccessLog(options.access_log) if options.access_log else None,
            tracing=tracing,
        )
        server_info = {"name": config.name, "version": __version__}
        pages = Pages(
            fleet=self.fleet,
            metrics=self._metrics,
            group=lambda: self._config.group_ref,
            mode="static" if home is None else "dynamic",
            not_ready=lambda: self._stopping or self._closed or self._waiting_for,
        )
        self._metrics.observe(
            sessions=lambda: len(self.sessions),
            usable=self.fleet.usable_count,
            out=lambda: len(self.fleet.upstreams) - self.fleet.usable_count(),
        )
        self._metrics.observe_lists((listed.member for listed in Listed), catalog.sizes, catalog.left_out)
        self.cut = self._metrics.refused
        legacy = Legacy(
            router=self._router,
            sessions=self.sessions,
            outside=outside,
            tasks=tasks,
            welcome=own_welcome(server_info),
            alone=colleagues is None and self._replicas is None,
        )
        if self._replicas is not None:
            legacy.kin = self._replicas
            self._replicas.said = legacy.said
        modern = Modern(
            router=self._router,
            changes=self._changes,
            links=links,
            route=catalog.owner,
            tasks=tasks,
            server_info=server_info,
        )
        self.lanes = Lanes(
            router=self._router,
            legacy=legacy,
            modern=modern,
            catalog=catalog,
            metrics=self._metrics,
            passive=ear,
            hosts=self._hosts,
            passthrough=self._passthrough,
            json_depth=options.limits.json_depth,
            closed=lambda: bool(self._closed or options.access_log),
            tracing=tracing,
        )
        by_path = pages.by_path()
        if colleagues is not None:
            by_path["/metrics"] = colleagues.gathering.page
        self.app = Edge(
            legacy=legacy,
            modern=modern,
            pages=by_path,
            closed=lambda: self._closed,
            hosts=self._hosts,
            limits=options.limits,
            passthrough=self._passthrough,
            refused=self._metrics.refused,
            moved=colleagues.moving.moved if colleagues else None,
        )
        self._apply(config)

    def start(self) -> None:
        """Begin to watch: configuration, status, health, idle sessions."""
        self._tasks.create_task(self._sweep())
        if self._replicas is not None:
            self._tasks.create_task(self._replicas.run())
        if self._view is None or self._passive is None:
            self._tasks.create_task(self._stop_waiting())
            return
        self._tasks.create_task(self._view.run())
        self._tasks.create_task(self._passive.run())
        if self._home is None:
            self._tasks.create_task(watch_file(self._options.config, self.reconfigure))
            return
        # The one place that may talk to the API server: no guard refuses it here.
        transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
        self._transports.append(transport)
        namespace, name = self._home.namespace, self._home.name
        watches = (
            (f"/api/v1/namespaces/{namespace}/configmaps", f"{name}-vmcp-config", self._config_map),
            (f"/apis/toolhive.stacklok.dev/v1beta1/namespaces/{namespace}/virtualmcpservers", name, self._server),
        )
        for path, watched, seen in watches:
            watch = ObjectWatch(transport=transport, account=self._home.account, path=path, name=watched, seen=seen)
            self._tasks.create_task(watch.run())
        self._tasks.create_task(self._stop_waiting())
        self._hint = Hint(
            transport=transport,
            account=self._home.account,
            namespace=namespace,
            name=name,
            replica=socket.gethostname(),
        )
        self._tasks.create_task(self._hint.run())

    def meet(self, arrivals: Arrivals) -> None:
        """Take part in what the workers say to each other, where there are several."""
        if self._colleagues is not None:
            self._colleagues.begin(arrivals)

    def failed(self, name: str, fingerprint: str, failures: int) -> None:
        """Calls to a backend fail: have it looked at, by the operator and by ourselves where we decide."""
        if self._view is not None:
            self._view.suspect(name, fingerprint)
        if self._hint is not None:
            self._hint.failed(name, fingerprint, failures)

    def reached(self, name: str, fingerprint: str, at: float) -> None:
        """Calls to a backend succeed that is said to fail: let the operator know."""
        if self._hint is not None:
            self._hint.reached(name, fingerprint, at)

    def announce_stop(self) -> None:
        """Be ready no more, so that new clients are sent elsewhere."""
        self._stopping = "stopping"

    def drain(self) -> None:
        """End what never ends by itself: what is waited for then is calls only."""
        self._draining = True
        self._changes.close()
        if self._replicas is not None:
            self._links.part()

    def give_up_calls(self) -> None:
        """End the calls that are still running, with an error each."""
        self._router.give_up_calls("the gateway is stopping")
        self._dialogues.close()

    async def close(self) -> None:
        """Close every connection of ours, and send the spans that are left."""
        for transport in self._transports:
            await transport.close()
        if self._replicas is not None:
            await self._replicas.close()
        if self._collector is not None:
            await asyncio.to_thread(self._collector.shutdown)

    def observe_connections(self, count: Callable[[], float]) -> None:
        """Where the number of open connections of clients is read from at each scrape."""
        self._metrics.observe_connections(count)

    def reconfigure(self, text: str) -> None:
        """Take over a changed configuration, or stop serving where it must fail closed."""
        if self._colleagues is not None and self._colleagues.leader is not None:
            self._colleagues.leader.configured(text)
        try:
            config = servable(text)
        except Refused as refused:
            self._refuse(str(refused))
            return
        if self._closed:
            log.info("serving again: the configuration was fixed")
            self._closed = ""
        if config != self._config:
            log.info("configuration changed: %d backends", len(config.backends))
            if config.session_storage != self._config.session_storage:
                log.warning("sessionStorage: the change is taken over at the next start")
            self._config = config
            self._apply(config)

    def _refuse(self, reason: str) -> None:
        # The last good configuration may lack the very protection that this one asks for.
        if not self._closed:
            log.error("not serving: %s", reason)
        self._closed = f"configuration refused: {reason}"
        self._changes.interrupt()

    def _apply(self, config: GatewayConfig) -> None:
        if self._home is None:
            config = of_the_user(config)
        self._hosts.allow(config.allowed_hosts or ())
        self._passthrough.configure(config.passthrough_headers or ())
        targets = self.fleet.configure(config)
        self._links.follow(self.fleet.upstreams)
        if self._passive is not None and self._view is not None:
            self._passive.configure(self.fleet.upstreams, targets)
            self._view.configure(config, targets)

    def _upstream(self, name: str) -> Upstream | None:
        return self.fleet.upstreams.get(name)

    def _config_map(self, content: Mapping[str, Any] | None) -> None:
        # A deleted ConfigMap is restored by the operator in a moment: go on with what it said.
        data = (content or {}).get("data") or {}
        if CONFIG_KEY in data:
            self.reconfigure(str(data[CONFIG_KEY]))

    def _server(self, content: Mapping[str, Any] | None) -> None:
        status = (content or {}).get("status")
        if self._view is not None:
            self._view.reported(status if isinstance(status, Mapping) else None)
        self._informed()

    def _informed(self) -> None:
        """There is something to serve by."""
        if self._waiting_for:
            self._waiting_for = ""
            if self._colleagues is not None and self._colleagues.leader is not None:
                self._colleagues.leader.all_anew()

    async def _stop_waiting(self) -> None:
        await asyncio.sleep(STATUS_WAIT_S)
        if self._waiting_for:
            log.warning("%s for %g s: serving every backend as unknown", self._waiting_for, STATUS_WAIT_S)
            self._informed()

    def _tell_withheld(self) -> None:
        """Again and again: an operator that was restarted has forgotten it."""
        for name, upstream in self.fleet.upstreams.items():
            if self._hint is not None and lacks_secret_header(upstream.config):
                self._hint.withheld(name, upstream.fingerprint)

    async def _sweep(self) -> None:
        while True:
            self._tell_withheld()
            await asyncio.sleep(SWEEP_S)
            self.sessions.sweep()
            self._dialogues.sweep()
            if self._replicas is not None:
                await self._replicas.sweep()


def _api_server_address() -> list[str]:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Some clusters give a name; the guard judges addresses.
        return []
    return [host]
