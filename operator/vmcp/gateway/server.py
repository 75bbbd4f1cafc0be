"""`vmcp serve`: a gateway in one process and one task group, or in several processes."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from typing import Final

import uvloop

from vmcp.gateway.gateway import Gateway
from vmcp.gateway.serving import Server, configured, listen
from vmcp.gateway.settings import (
    Home,
    Refused,
    ServeOptions,
    read_config,
    session_seal,
    session_storage,
)
from vmcp.gateway.workers.crew import REFUSED_EXIT, Place, run_workers
from vmcp.gateway.workers.moving import Arrivals

log = logging.getLogger(__name__)

DRAIN_S: Final = 25.0
"""A running call may end within this after SIGTERM; the Pod's grace period is 30 s."""
LINGER_S: Final = 5.0
"""In a Pod new clients are still served this long after SIGTERM: those who send them here learn of it that late."""


class _Stop(Exception):
    """Ends the task group; nothing went wrong."""


async def serve(options: ServeOptions, *, stopping: asyncio.Event | None = None, place: Place | None = None) -> None:
    """Serve until SIGTERM or SIGINT (or `stopping`, where given), then let running calls end.

    Args:
        place: where this is one of several workers.

    Raises:
        Refused: the configuration or the port cannot be served; the message names the field and the fix.
    """
    config = read_config(options.config)
    if options.debug or (config.operational and config.operational.log_level):
        logging.getLogger("vmcp").setLevel(logging.DEBUG)
    # It tells of its own start and stop, which ours says better, and a line for every broken request: a flood of them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    seal = place.seal if place else session_seal()
    storage = session_storage(config)
    listening = place.listening if place else _listen(options)
    if stopping is None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if place is not None:
        place.stop_with_parent(stopping)
    try:
        async with asyncio.TaskGroup() as tasks:
            if place is not None:
                tasks.create_task(place.show_life())
            home = Home.find()
            linger_s = LINGER_S if home else 0.0
            gateway = Gateway(options, config, home, tasks, seal, place.mail if place else None, storage)
            drain_s = DRAIN_S - linger_s
            server = Server(
                configured(gateway.app, limits=options.limits, cut=gateway.cut, lanes=gateway.lanes, drain_s=drain_s)
            )
            gateway.observe_connections(lambda: len(server.server_state.connections))
            gateway.start()
            gateway.meet(Arrivals(server.protocol, tasks))
            tasks.create_task(_stop(stopping, server, gateway, linger_s))
            log.info("gateway %s on http://%s:%d/mcp", config.name, options.host, listening.getsockname()[1])
            await server.serve(sockets=[listening])
            raise _Stop
    except* _Stop:
        await gateway.close()
        log.info("gateway stopped")


def run(options: ServeOptions) -> int:
    """`serve` on uvloop. Returns the process's exit status: 0, or 2 with one line on stderr when refused."""
    # What imports have made stays for good: to search it for garbage takes some 10 ms, in which nobody is answered.
    gc.collect()
    gc.freeze()
    try:
        if options.workers > 1:
            return _run_workers(options)
        uvloop.run(serve(options))
    except Refused as refused:
        sys.stderr.write(f"vmcp serve: {refused}\n")
        return REFUSED_EXIT
    return 0


def _run_workers(options: ServeOptions) -> int:
    # What is refused is said once, and what is loaded now is in memory once.
    session_storage(read_config(options.config))
    seal = session_seal()
    try:
        return run_workers(options.host, options.port, options.workers, seal, lambda place: serve(options, place=place))
    except OSError as error:
        raise _unlistenable(options, error) from error


def _listen(options: ServeOptions) -> socket.socket:
    try:
        return listen(options.host, options.port)
    except OSError as error:
        raise _unlistenable(options, error) from error


def _unlistenable(options: ServeOptions, error: OSError) -> Refused:
    place = f"{options.host}:{options.port}"
    return Refused(f"--port: {place} cannot be listened on ({error.strerror}); choose another")


async def _stop(stopping: asyncio.Event, server: Server, gateway: Gateway, linger_s: float) -> None:
    await stopping.wait()
    log.info("stopping: running calls have %g s", DRAIN_S)
    gateway.announce_stop()
    server.dismiss()
    await asyncio.sleep(linger_s)
    gateway.drain()
    server.should_exit = True
    await asyncio.sleep(DRAIN_S - linger_s)
    gateway.give_up_calls()
