"""A backend and the gateway in front of it, as processes of their own."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
from tests.conformance.installed import Installed

from vmcp_dev.backends.running import listens
from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.ports import free_port

_START_S: Final = 60.0
_STOP_S: Final = 10.0


class NotStarted(Exception):
    """A process did not come up; the message holds the tail of its log."""


@contextlib.contextmanager
def fixtures_server(installed: Installed, logs: Path) -> Iterator[str]:
    """The official SDK's server with the suite's fixtures, both eras. Yields its URL."""
    port = free_port()
    command = [sys.executable, "-m", "mcp_everything_server", f"--port={port}", "--log-level=WARNING"]
    with _running(ChildProcess("fixtures", command, log=logs / "fixtures.log", cwd=installed.fixtures), port):
        yield f"http://127.0.0.1:{port}/mcp"


@contextlib.contextmanager
def everything_server(installed: Installed, logs: Path) -> Iterator[str]:
    """The TypeScript reference server: Legacy only, with sessions. Yields its URL."""
    port = free_port()
    # It knows no host option and would listen on every interface.
    loopback = logs / "loopback.cjs"
    loopback.write_text(
        "const net = require('net'); const listen = net.Server.prototype.listen;\n"
        "net.Server.prototype.listen = function (port, ...rest) {\n"
        "  const ready = rest.find((each) => typeof each === 'function');\n"
        "  return listen.call(this, Number(port), '127.0.0.1', ready);\n};\n"
    )
    command = [installed.node, "-r", loopback, installed.everything, "streamableHttp"]
    env = {**os.environ, "PORT": str(port)}
    with _running(ChildProcess("server-everything", command, log=logs / "everything.log", env=env), port):
        yield f"http://127.0.0.1:{port}/mcp"


@contextlib.contextmanager
def gateway(backend_url: str, logs: Path, *, prefix_format: str = "") -> Iterator[str]:
    """`vmcp serve` with this one backend, under its own names unless a prefix is given. Yields the MCP URL."""
    port = free_port()
    config = logs / f"gateway-{port}.json"
    content = {
        "name": "conformance",
        "incomingAuth": {"type": "anonymous"},
        "backends": [{"name": "fixtures", "url": backend_url, "transport": "streamable-http"}],
        "aggregation": {
            "conflictResolution": "prefix",
            "conflictResolutionConfig": {"prefixFormat": prefix_format},
        },
    }
    config.write_text(json.dumps(content))
    command = [sys.executable, "-m", "vmcp.cli", "serve", f"--config={config}", f"--port={port}"]
    child = ChildProcess("gateway", command, log=logs / "gateway.log")
    with _running(child, port):
        _wait_until_used(child, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}/mcp"


@contextlib.contextmanager
def _running(child: ChildProcess, port: int) -> Iterator[None]:
    try:
        _wait(child, lambda: listens(port))
        yield
    finally:
        child.stop(_STOP_S)


def _wait_until_used(child: ChildProcess, origin: str) -> None:
    def healthy() -> bool:
        backends = httpx.get(f"{origin}/status", timeout=5.0).json()["backends"]
        return all(backend["health"] == "healthy" for backend in backends)

    _wait(child, healthy)


def _wait(child: ChildProcess, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not ready():
        if not child.running or time.monotonic() > deadline:
            raise NotStarted(f"{child.name} did not start:\n{child.tail()}")
        time.sleep(0.05)
