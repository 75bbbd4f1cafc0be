"""What the integration tests play on: MCP backends that die and return, and one operator per namespace."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mcp import Client

from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.kubectl import Kubectl, KubectlError
from vmcp_dev.operatorprocess import start_operator
from vmcp_dev.ports import free_port as free_port

T = TypeVar("T")
PATIENCE_S = 90.0
GROUP = "toolhive.stacklok.dev/v1beta1"

_SERVER = """
import sys
from mcp.server import MCPServer
server = MCPServer(sys.argv[2], version="1.0.0")
@server.tool()
def echo(text: str) -> str:
    return text
@server.resource("demo://" + sys.argv[2])
def about() -> str:
    return "about " + sys.argv[2]
@server.prompt()
def greet(name: str) -> str:
    return "hello " + name
server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
"""


def eventually(look: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
    """What `look` returns once it is true; fails with its last value or error after the patience."""
    deadline = time.monotonic() + patience_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = value = look()
            if value:
                return value
        except (KubectlError, KeyError, IndexError, StopIteration) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"not within {patience_s:.0f} s; last seen: {last!r}")


async def until_listed(client: Client, *tools: str) -> None:
    """Return as soon as the gateway shows these tools and no others: it has read them and knows who is out."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        shown = sorted(tool.name for tool in (await client.list_tools()).tools)
        if shown == sorted(tools):
            return
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(0.1)


class McpBackend:
    """A real MCP server on the official SDK, at one port for its whole life; it can die, hang and come back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self._listens)

    def command(self) -> list[str]:
        return [sys.executable, "-c", _SERVER, str(self.port), self.name]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the backend did not start"
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def mcp_backends(*names: str) -> Iterator[dict[str, McpBackend]]:
    backends = {name: McpBackend(name) for name in names}
    try:
        for backend in backends.values():
            backend.start()
        yield backends
    finally:
        for backend in backends.values():
            backend.kill()


class OperatorProcess:
    """One operator that serves one namespace: it can be killed and started again."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path) -> None:
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self.log = log
        self.process: ChildProcess | None = None

    def start(self) -> None:
        self.process = start_operator(self._kubeconfig, log=self.log, arguments=["--namespace", self._namespace])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        assert self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop(20)

    def restart(self) -> None:
        self.kill()
        self.start()


class Stage:
    """One namespace of the API server as a user sees it, through kubectl."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl.apply(*({**obj, "metadata": {**obj["metadata"], "namespace": self.namespace}} for obj in objects))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        result: dict[str, Any] = self.kubectl.json("-n", self.namespace, "get", kind, name)
        return result

    def every(self, kind: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.kubectl.json("-n", self.namespace, "get", kind)["items"]
        return result

    def delete(self, kind: str, name: str) -> None:
        self.kubectl("-n", self.namespace, "delete", kind, name, "--wait=false")

    def patch(self, kind: str, name: str, patch: dict[str, Any]) -> None:
        self.kubectl("-n", self.namespace, "patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    def status(self, name: str) -> dict[str, Any]:
        result: dict[str, Any] = self.get("vmcp", name)["status"]
        return result

    def condition(self, name: str, type_: str) -> dict[str, Any]:
        return next(c for c in self.status(name)["conditions"] if c["type"] == type_)

    def backend(self, name: str, backend: str) -> dict[str, Any]:
        return next(b for b in self.status(name)["discoveredBackends"] if b["name"] == backend)

    def backend_names(self, name: str) -> list[str]:
        return [backend["name"] for backend in self.status(name).get("discoveredBackends", [])]

    def event_reasons(self, name: str) -> set[str]:
        """Of the Events on the object: they come some time after what they tell of."""
        return {event["reason"] for event in self.every("events") if event["involvedObject"]["name"] == name}

    def exists(self, kind: str, name: str) -> bool:
        return bool(self.kubectl("-n", self.namespace, "get", kind, name, "--ignore-not-found"))


def group(name: str = "tools") -> dict[str, Any]:
    return {"apiVersion": GROUP, "kind": "MCPGroup", "metadata": {"name": name}, "spec": {}}


def entry(name: str, url: str, group_name: str = "tools", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": GROUP,
        "kind": "MCPServerEntry",
        "metadata": {"name": name},
        "spec": {"groupRef": {"name": group_name}, "remoteUrl": url, "transport": "streamable-http", **spec},
    }


def gateway(name: str = "front", group_name: str = "tools", **spec: Any) -> dict[str, Any]:
    """A VirtualMCPServer with quick checks: two failures open a circuit, for two seconds.

    A check may take long, so that no backend that is well fails on a busy machine.
    """
    handling = {
        "healthCheckInterval": "4s",
        "healthCheckTimeout": "3s",
        "fastInterval": "500ms",
        "unhealthyThreshold": 2,
        "circuitBreaker": {"enabled": True, "failureThreshold": 2, "timeout": "2s"},
    }
    return {
        "apiVersion": GROUP,
        "kind": "VirtualMCPServer",
        "metadata": {"name": name},
        "spec": {
            "groupRef": {"name": group_name},
            "incomingAuth": {"type": "anonymous"},
            "config": {"operational": {"failureHandling": handling}},
            **spec,
        },
    }


def with_handling(obj: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The VirtualMCPServer with other `failureHandling` fields."""
    changed: dict[str, Any] = json.loads(json.dumps(obj))
    changed["spec"]["config"]["operational"]["failureHandling"].update(changes)
    return changed
