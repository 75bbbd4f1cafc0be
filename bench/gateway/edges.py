"""Which HTTP server at the edge: CPU for a request alone, and what the gateway's own two ways cost."""

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from bench.gateway import contestants
from bench.gateway.calls import one_turn
from bench.gateway.contestants import Running
from bench.gateway.edgeserver import SERVERS
from bench.gateway.load import Door, run_wrk
from bench.process import contestant

from vmcp_dev.ports import free_port

CONNECTIONS: Final = 32


def measure(rounds: int, seconds: float) -> dict[str, object]:
    """Medians, in µs of CPU."""
    servers: dict[str, list[float]] = {name: [] for name in SERVERS}
    ways: dict[str, list[float]] = {"short": [], "ordinary": []}
    with ExitStack() as running:
        present = [running.enter_context(_server(name)) for name in SERVERS]
        behind = running.enter_context(contestants.backends(2))
        gateway = running.enter_context(contestants.vmcp(behind, 2))
        short = gateway.door.call()
        # What a page on this machine sends is judged by the application, and so takes the ordinary way.
        ordinary = short.replace(b"\r\ncontent-length", b"\r\norigin: http://localhost\r\ncontent-length", 1)
        for number in range(rounds):
            for one in present:
                before = one.cpu_seconds()
                turn = run_wrk(one.door, [one.door.call()], connections=CONNECTIONS, seconds=seconds)
                servers[one.name].append((one.cpu_seconds() - before) / turn.requests * 1e6)
            for way, request in (("short", short), ("ordinary", ordinary)):
                turn = one_turn(gateway, [request], behind, connections=CONNECTIONS, seconds=seconds)
                ways[way].append(turn.cpu_us)
            latest = {name: round(seen[-1]) for name, seen in {**servers, **ways}.items()}
            print(f"  round {number + 1}: {latest}", flush=True)
    return {
        "edge_server_cpu_us": {name: round(statistics.median(seen), 1) for name, seen in servers.items()},
        "way_cpu_us": {name: round(statistics.median(seen), 1) for name, seen in ways.items()},
    }


@contextlib.contextmanager
def _server(name: str) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "bench.gateway.edgeserver", name, "--port", str(port)]
    with contestant(command, silent=True) as process:
        door, deadline = Door(port), time.monotonic() + contestants.PATIENCE_S
        while True:
            try:
                door.ask("tools/call", {"name": "x"})
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield Running(name, door, process.pid)
