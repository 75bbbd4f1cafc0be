"""`vmcp stdio`: the gateway's edge before one stdio server."""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import uvloop

from vmcp import __version__
from vmcp.gateway.answer import Receive, Send, rpc_error, send_whole
from vmcp.gateway.changes import Changes
from vmcp.gateway.edge import Edge
from vmcp.gateway.hosts import Hosts, is_loopback_address
from vmcp.gateway.legacy import VERSIONS, Legacy
from vmcp.gateway.limits import Limits
from vmcp.gateway.passthrough import Passed, Passthrough
from vmcp.gateway.serving import Server as HttpServer
from vmcp.gateway.serving import configured, listen
from vmcp.gateway.shortway import NoShortWay
from vmcp.mcp import jsonrpc
from vmcp.mcp.endpoint import Identity
from vmcp.mcp.jsonrpc import Message
from vmcp.stdio.attach import Source
from vmcp.stdio.metrics import CONTENT_TYPE, Metrics
from vmcp.stdio.relay import Relay
from vmcp.stdio.server import CAPABILITIES, Server

log = logging.getLogger(__name__)

DRAIN_S: Final = 25.0
"""A running call may end within this after SIGTERM; the Pod's grace period is 30 s."""
SWEEP_S: Final = 30.0
REFUSED_EXIT: Final = 2


@dataclass(frozen=True, slots=True)
class StdioOptions:
    """Options of `vmcp stdio`.

    Attributes:
        source: the server.
        timeout_s: for one call.
        most_calls: under way at once.
    """

    source: Source
    host: str = "127.0.0.1"
    port: int = 8080
    timeout_s: float = 300.0
    most_calls: int = 128
    limits: Limits = field(default_factory=lambda: Limits(connections=1_000))


class _Stop(Exception):
    """Ends the task group; nothing went wrong."""


class LegacyOnly:
    """What a Modern client hears: stdio servers have sessions, and whoever wants both eras goes through the gateway."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def post(
        self,
        message: Message,
        headers: Mapping[bytes, bytes],
        *,
        passed: Passed,
        streams: bool,
        whole: bool,
        send: Send,
        receive: Receive,
    ) -> None:
        """Refuse the message, and say which revisions there are."""
        supported = [version for version in VERSIONS if version <= self._server.revision]
        requested = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
        data = {"supported": supported, "requested": requested}
        error = rpc_error(jsonrpc.UNSUPPORTED_VERSION, "this server speaks revisions with a session only", data)
        await send_whole(send, 400, jsonrpc.encode_error(message.id or b"null", error))


class Proxy:
    """The parts of one proxy, wired. Make it inside the task group that owns its tasks."""

    def __init__(self, options: StdioOptions, tasks: asyncio.TaskGroup) -> None:
        self._stopping = ""
        self._changes = Changes()
        self._metrics = metrics = Metrics()
        self.cut = metrics.refused

        def make_server(relay: Relay) -> Server:
            return Server(
                options.source,
                identity=Identity("vmcp-stdio", __version__, CAPABILITIES),
                heard=relay.heard,
                lost=relay.lost,
                most_calls=options.most_calls,
                metrics=metrics,
            )

        self._relay = relay = Relay(
            make_server, changes=self._changes, tasks=tasks, timeout_s=options.timeout_s, metrics=metrics
        )
        metrics.observe(
            up=lambda: not relay.server.missing,
            sessions=lambda: len(relay.sessions),
            under_way=lambda: relay.server.under_way,
        )
        self.app = Edge(
            legacy=Legacy(router=relay, sessions=relay.sessions, outside=relay, tasks=tasks, welcome=relay.welcome),
            modern=LegacyOnly(relay.server),
            pages={
                "/health": lambda: (200, b'{"status":"ok"}', "application/json"),
                "/readyz": self._ready,
                "/metrics": lambda: (200, metrics.exposition(), CONTENT_TYPE),
            },
            closed=lambda: relay.server.missing,
            hosts=Hosts(local=is_loopback_address(options.host)),
            limits=options.limits,
            passthrough=Passthrough(),
            refused=metrics.refused,
        )
        tasks.create_task(relay.server.run())
        tasks.create_task(self._sweep())

    def drain(self) -> None:
        """Take no new clients, and end what never ends by itself: what is waited for then is calls only."""
        self._stopping = "stopping"
        self._changes.close()

    def give_up_calls(self) -> None:
        """End the calls that are still running, with an error each."""
        self._relay.give_up_calls("the proxy is stopping")

    def _ready(self) -> tuple[int, bytes, str]:
        reason = self._stopping or self._relay.server.missing
        content = {"status": "not_ready", "reason": reason} if reason else {"status": "ready"}
        return 503 if reason else 200, json.dumps(content).encode(), "application/json"

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._relay.sessions.sweep()


async def serve(options: StdioOptions, *, stopping: asyncio.Event | None = None) -> None:
    """Serve until SIGTERM or SIGINT (or `stopping`, where given), then let running calls end.

    Raises:
        OSError: the port cannot be listened on.
    """
    # It tells of its own start and stop, and a line for every broken request: a flood of them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    listening = listen(options.host, options.port)
    if stopping is None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            proxy = Proxy(options, tasks)
            server = HttpServer(
                configured(proxy.app, limits=options.limits, cut=proxy.cut, lanes=NoShortWay(), drain_s=DRAIN_S)
            )
            tasks.create_task(_stop(stopping, server, proxy))
            log.info("stdio proxy on http://%s:%d/mcp", options.host, listening.getsockname()[1])
            await server.serve(sockets=[listening])
            raise _Stop
    except* _Stop:
        log.info("stdio proxy stopped")


def run(options: StdioOptions) -> int:
    """`serve` on uvloop. Returns the process's exit status: 0, or 2 with one line on stderr."""
    try:
        uvloop.run(serve(options))
    except OSError as error:
        place = f"{options.host}:{options.port}"
        sys.stderr.write(f"vmcp stdio: --port: {place} cannot be listened on ({error.strerror}); choose another\n")
        return REFUSED_EXIT
    return 0


async def _stop(stopping: asyncio.Event, server: HttpServer, proxy: Proxy) -> None:
    await stopping.wait()
    log.info("stopping: running calls have %g s", DRAIN_S)
    proxy.drain()
    server.should_exit = True
    await asyncio.sleep(DRAIN_S)
    proxy.give_up_calls()
