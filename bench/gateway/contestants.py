"""Whoever is measured: started before the same backends, one worker each, on one core."""

import contextlib
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench.gateway import envoy, tree
from bench.gateway.load import LOAD_CORE, Door
from bench.process import Contestant, contestant, envoy_binary, ours

from vmcp_dev.ports import free_port

PATIENCE_S: Final = 90.0


class Backends:
    """The cheap backends, all in one process."""

    def __init__(self, process: Contestant, tools: int) -> None:
        self.process = process
        self.tools = tools
        self.legacy_port, self.modern_port = (int(port) for port in process.line().split())

    def door(self, *, modern: bool) -> Door:
        """The first backend itself."""
        port = self.modern_port if modern else self.legacy_port
        return Door(port, host=address(1), modern=modern)

    def counts(self) -> dict[str, int]:
        """Requests that came so far, by method."""
        return self._get("count")

    def misbehave(self, mode: str, count: int) -> None:
        """The last so many backends `hang`, `reset` or `answer` from now on."""
        self._get(f"mode/{mode}/{count}")

    def _get(self, path: str) -> dict[str, int]:
        connection = http.client.HTTPConnection(address(1), self.legacy_port, timeout=30)
        try:
            connection.request("GET", f"/{path}")
            counts: dict[str, int] = json.loads(connection.getresponse().read())
            return counts
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Running:
    """A contestant ready to be asked.

    Attributes:
        pid: root of its process tree; for `direct` that of the backends.
    """

    name: str
    door: Door
    pid: int

    def cpu_seconds(self) -> float:
        """Of the whole tree so far."""
        return tree.cpu_seconds(self.pid)

    def pss_mb(self) -> float:
        """Of the whole tree now."""
        return tree.pss_mb(self.pid)

    def fresh(self) -> "Running":
        """With a session of its own where the endpoint has sessions."""
        return self if self.door.modern else replace(self, door=replace(self.door, session=self.door.initialize()))


@contextlib.contextmanager
def backends(count: int, *, tools: int = 5) -> Iterator[Backends]:
    """Run so many backends with so many tools each."""
    arguments = ("--backends", str(count), "--tools", str(tools))
    with ours("bench.gateway.backend", *arguments, core=LOAD_CORE) as process:
        yield Backends(process, tools)


def direct(behind: Backends, *, modern: bool = False) -> Running:
    """No gateway at all: what a call costs the backend."""
    return Running("direct", behind.door(modern=modern), behind.process.pid).fresh()


@contextlib.contextmanager
def vmcp(
    behind: Backends, count: int, *, modern: bool = False, health: dict[str, Any] | None = None
) -> Iterator[Running]:
    """The gateway, with sessions, metrics, health checks and breakers on, as anyone would run it alone."""
    port = free_port()
    backend_port = behind.modern_port if modern else behind.legacy_port
    handling = {
        "healthCheckInterval": "10s",
        "healthCheckTimeout": "3s",
        "unhealthyThreshold": 3,
        "partialFailureMode": "best_effort",
        "circuitBreaker": {"enabled": True, "failureThreshold": 3, "timeout": "60s"},
    }
    config = {
        "name": "bench",
        "incomingAuth": {"type": "anonymous"},
        "backends": [
            {"name": f"b{number}", "url": url, "transport": "streamable-http"}
            for number, url in enumerate(urls(count, backend_port), 1)
        ],
        "aggregation": {"conflictResolution": "prefix", "conflictResolutionConfig": {"prefixFormat": "{workload}_"}},
        "operational": {"failureHandling": {**handling, **(health or {})}},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.json"
        path.write_text(json.dumps(config))
        command = [sys.executable, "-m", "vmcp.cli", "serve", "--config", path, "--port", str(port)]
        with contestant(command, silent=True) as process:
            name = "vmcp_modern" if modern else "vmcp"
            running = Running(name, Door(port, modern=modern, tool="b{backend}_{own}"), process.pid)
            yield _ready(running, count * behind.tools)


@contextlib.contextmanager
def envoy_router(behind: Backends, count: int) -> Iterator[Running]:
    """Envoy's `mcp_router`."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "envoy.json"
        addresses = [address(number) for number in range(1, count + 1)]
        path.write_text(envoy.configuration(port, addresses, behind.legacy_port))
        flags = ("--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id")
        with contestant([envoy_binary(), *flags, "--config-path", path], silent=True) as process:
            yield _ready(Running("envoy", Door(port, tool="b{backend}__{own}"), process.pid), count * behind.tools)


@contextlib.contextmanager
def fastmcp_proxy(behind: Backends, count: int) -> Iterator[Running]:
    """FastMCP's proxy."""
    port = free_port()
    command = [sys.executable, "-m", "bench.gateway.proxy", "--port", str(port), *urls(count, behind.legacy_port)]
    with contestant(command, silent=True) as process:
        yield _ready(Running("fastmcp", Door(port, tool="b{backend}_{own}"), process.pid), count * behind.tools)


def address(number: int) -> str:
    """Where backend `number` is; they count from 1."""
    return f"127.1.{number >> 8}.{number & 255}"


def urls(count: int, port: int) -> list[str]:
    """Of the first so many backends."""
    return [f"http://{address(number)}:{port}/mcp" for number in range(1, count + 1)]


def _ready(running: Running, tools: int) -> Running:
    """With a session, and all tools listed.

    Raises:
        RuntimeError: not within `PATIENCE_S`; the last answer tells why.
    """
    deadline, seen = time.monotonic() + PATIENCE_S, "nothing"
    while time.monotonic() < deadline:
        try:
            fresh = running.fresh()
            listed, _ = fresh.door.ask("tools/list", {})
            if len(listed["result"]["tools"]) == tools:
                return fresh
            seen = f"{len(listed['result']['tools'])} of {tools} tools"
        except (OSError, KeyError, ValueError, http.client.HTTPException) as error:
            seen = repr(error)
        time.sleep(0.2)
    raise RuntimeError(f"{running.name} is not ready: {seen}")


Begin = Callable[[Backends, int], contextlib.AbstractContextManager[Running]]
