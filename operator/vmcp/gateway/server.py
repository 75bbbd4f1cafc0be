"""`vmcp serve`: the whole gateway in one process and one task group."""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import uvicorn
import uvloop

from vmcp import __version__
from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.gateway.accesslog import AccessLog
from vmcp.gateway.catalog import Catalog
from vmcp.gateway.changes import Changes
from vmcp.gateway.connection import Connection
from vmcp.gateway.dialogue import Dialogues
from vmcp.gateway.edge import Edge
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.hint import Hint
from vmcp.gateway.hosts import Hosts, is_loopback_address
from vmcp.gateway.kubewatch import ObjectWatch
from vmcp.gateway.lane import Lanes
from vmcp.gateway.legacy import Legacy
from vmcp.gateway.limits import Limits
from vmcp.gateway.links import MAX_LINKS, Links
from vmcp.gateway.listing import Listed
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.modern import Modern
from vmcp.gateway.outside import Outside
from vmcp.gateway.pages import Pages
from vmcp.gateway.passive import Passive
from vmcp.gateway.passthrough import Passthrough
from vmcp.gateway.router import Router
from vmcp.gateway.seal import Seal
from vmcp.gateway.sessions import Sessions
from vmcp.gateway.settings import Home, Refused, ServeOptions, of_the_user, read_config, servable, session_seal
from vmcp.gateway.view import View
from vmcp.health.probe import Probe
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport

log = logging.getLogger(__name__)

DRAIN_S: Final = 25.0
"""A running call may end within this after SIGTERM; the Pod's grace period is 30 s."""
CUT_S: Final = 3
"""What has not ended this long after that is cut off."""
STATUS_WAIT_S: Final = 5.0
"""Ready without a first look at the status after this: an API server that is away must not keep every gateway down."""
SWEEP_S: Final = 30.0
FILE_CHECK_S: Final = 1.0
CONFIG_KEY: Final = "config.yaml"
REFUSED_EXIT: Final = 2
KEPT_HEADS: Final = 2048
"""Of requests to backends. Each call with a trace context has a head of its own, which no other will share."""
LISTEN_BACKLOG: Final = 1024


class _Stop(Exception):
    """Ends the task group; nothing went wrong."""


class Gateway:
    """The parts of one gateway, wired. Make it inside the task group that owns its tasks."""

    def __init__(
        self,
        options: ServeOptions,
        config: GatewayConfig,
        home: Home | None,
        tasks: asyncio.TaskGroup,
        seal: Seal,
    ) -> None:
        self._options = options
        self._home = home
        self._tasks = tasks
        self._config = config
        self._closed = ""
        self._stopping = ""
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
        probe = Probe(backends)
        self._passive = Passive(guard=self.fleet.guard, metrics=self._metrics, check=probe, tell=self)
        self._view = View(fleet=self.fleet, passive=self._passive, check=probe, reported=home is not None)
        self._hint: Hint | None = None
        # Sessions of single clients with backends: many long streams, which must not take the place of calls.
        aside = HttpTransport(guard=guard, connections_per_origin=MAX_LINKS, kept_heads=KEPT_HEADS)
        self._transports.append(aside)
        self._links = links = Links(transport=aside, tasks=tasks, version=__version__)
        self.fleet.on_flip = links.flipped
        outside = Outside(links=links, stale=self.fleet.stale, route=catalog.owner, tasks=tasks)
        self.sessions = Sessions(self._changes, seal=seal, ended=outside.ended)
        self._dialogues = Dialogues(link=outside.link, passive=self._passive, stale=self.fleet.stale, tasks=tasks)
        self._router = Router(
            fleet=self.fleet,
            catalog=catalog,
            metrics=self._metrics,
            dialogues=self._dialogues,
            own=outside.read,
            tasks=tasks,
            access=AccessLog(options.access_log) if options.access_log else None,
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
            router=self._router, sessions=self.sessions, outside=outside, tasks=tasks, server_info=server_info
        )
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
            passive=self._passive,
            hosts=self._hosts,
            passthrough=self._passthrough,
            json_depth=options.limits.json_depth,
            closed=lambda: bool(self._closed or options.access_log),
        )
        self.app = Edge(
            legacy=legacy,
            modern=modern,
            pages=pages.by_path(),
            closed=lambda: self._closed,
            hosts=self._hosts,
            limits=options.limits,
            passthrough=self._passthrough,
            refused=self._metrics.refused,
        )
        self._apply(config)

    def start(self) -> None:
        """Begin to watch: configuration, status, health, idle sessions."""
        self._tasks.create_task(self._view.run())
        self._tasks.create_task(self._passive.run())
        self._tasks.create_task(self._sweep())
        if self._home is None:
            self._tasks.create_task(self._watch_file())
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

    def failed(self, name: str, fingerprint: str, failures: int) -> None:
        """Calls to a backend fail: have it looked at, by the operator and by ourselves where we decide."""
        self._view.suspect(name, fingerprint)
        if self._hint is not None:
            self._hint.failed(name, fingerprint, failures)

    def reached(self, name: str, fingerprint: str, at: float) -> None:
        """Calls to a backend succeed that is said to fail: let the operator know."""
        if self._hint is not None:
            self._hint.reached(name, fingerprint, at)

    def drain(self) -> None:
        """Take no new clients, and end what never ends by itself: what is waited for then is calls only."""
        self._stopping = "stopping"
        self._changes.close()

    def give_up_calls(self) -> None:
        """End the calls that are still running, with an error each."""
        self._router.give_up_calls("the gateway is stopping")
        self._dialogues.close()

    async def close(self) -> None:
        """Close every connection of ours."""
        for transport in self._transports:
            await transport.close()

    def reconfigure(self, text: str) -> None:
        """Take over a changed configuration, or stop serving where it must fail closed."""
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
        self._passive.configure(self.fleet.upstreams, targets)
        self._view.configure(config, targets)

    def _config_map(self, content: Mapping[str, Any] | None) -> None:
        # A deleted ConfigMap is restored by the operator in a moment: go on with what it said.
        data = (content or {}).get("data") or {}
        if CONFIG_KEY in data:
            self.reconfigure(str(data[CONFIG_KEY]))

    def _server(self, content: Mapping[str, Any] | None) -> None:
        self._waiting_for = ""
        status = (content or {}).get("status")
        self._view.reported(status if isinstance(status, Mapping) else None)

    async def _stop_waiting(self) -> None:
        await asyncio.sleep(STATUS_WAIT_S)
        if self._waiting_for:
            log.warning("the status could not be read within %g s: serving every backend as unknown", STATUS_WAIT_S)
            self._waiting_for = ""

    async def _watch_file(self) -> None:
        before = _modified(self._options)
        while True:
            await asyncio.sleep(FILE_CHECK_S)
            after = _modified(self._options)
            if after != before:
                before = after
                try:
                    self.reconfigure(self._options.config.read_text())
                except OSError as error:
                    # An editor replaces files: between two names there is none.
                    log.warning("%s: %s", self._options.config, error.strerror)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sessions.sweep()
            self._dialogues.sweep()


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would end the process under the tasks that are not its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(options: ServeOptions, *, stopping: asyncio.Event | None = None) -> None:
    """Serve until SIGTERM or SIGINT (or `stopping`, where given), then let running calls end.

    Raises:
        Refused: the configuration or the port cannot be served; the message names the field and the fix.
    """
    config = read_config(options.config)
    if options.debug or (config.operational and config.operational.log_level):
        logging.getLogger("vmcp").setLevel(logging.DEBUG)
    # It tells of its own start and stop, which ours says better, and a line for every broken request: a flood of them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    seal = session_seal()
    listening = _listen(options)
    if stopping is None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            gateway = Gateway(options, config, Home.find(), tasks, seal)
            server = _Server(_uvicorn_config(gateway.app, options.limits, gateway.cut, gateway.lanes))
            gateway.start()
            tasks.create_task(_stop(stopping, server, gateway))
            log.info("gateway %s on http://%s:%d/mcp", config.name, options.host, listening.getsockname()[1])
            await server.serve(sockets=[listening])
            raise _Stop
    except* _Stop:
        await gateway.close()
        log.info("gateway stopped")


def run(options: ServeOptions) -> int:
    """`serve` on uvloop. Returns the process's exit status: 0, or 2 with one line on stderr when refused."""
    try:
        uvloop.run(serve(options))
    except Refused as refused:
        sys.stderr.write(f"vmcp serve: {refused}\n")
        return REFUSED_EXIT
    return 0


def _listen(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listening = socket.create_server((options.host, options.port), family=family, backlog=LISTEN_BACKLOG)
        # Connections inherit it. asyncio leaves it off for sockets made this way, and head and body are two writes:
        # the body would then wait 40 ms for the client's delayed acknowledgement of the head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        place = f"{options.host}:{options.port}"
        raise Refused(f"--port: {place} cannot be listened on ({error.strerror}); choose another") from error


async def _stop(stopping: asyncio.Event, server: uvicorn.Server, gateway: Gateway) -> None:
    await stopping.wait()
    log.info("stopping: running calls have %g s", DRAIN_S)
    gateway.drain()
    server.should_exit = True
    await asyncio.sleep(DRAIN_S)
    gateway.give_up_calls()


def _uvicorn_config(app: Edge, limits: Limits, cut: Callable[[str], None], lanes: Lanes) -> uvicorn.Config:
    connection = functools.partial(Connection, limits=limits, cut=cut, lanes=lanes)
    return uvicorn.Config(
        app,
        # It is called as a class is.
        http=cast("type[asyncio.Protocol]", connection),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=int(DRAIN_S) + CUT_S,
    )


def _api_server_address() -> list[str]:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # Some clusters give a name; the guard judges addresses.
        return []
    return [host]


def _modified(options: ServeOptions) -> tuple[int, int] | None:
    try:
        stat = options.config.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
