"""The objects of the soak, and what people do to them meanwhile."""

import random
from collections.abc import Iterator
from typing import Any, Final

from bench.soak.backends import PORT, address

from vmcp_dev.kubectl import Kubectl

OBJECTS: Final = 30
BACKENDS_EACH: Final = 10
BACKENDS: Final = OBJECTS * BACKENDS_EACH
FLAPPING: Final = BACKENDS // 5
_API: Final = "toolhive.stacklok.dev/v1beta1"
_HANDLING: Final = {
    "healthCheckInterval": "5s",
    "healthCheckTimeout": "2s",
    "fastInterval": "1s",
    "circuitBreaker": {"enabled": True, "failureThreshold": 3, "timeout": "10s", "maxTimeout": "30s"},
}


def create(kubectl: Kubectl) -> None:
    """All objects, in the namespace `default`."""
    for number in range(OBJECTS):
        members = range(number, BACKENDS, OBJECTS)
        kubectl.apply(_group(number), *(_entry(each, number) for each in members), _gateway(number))


def edits(kubectl: Kubectl, rng: random.Random) -> Iterator[str]:
    """One edit after the other, for ever: what it was. What grows with edits would grow for ever."""
    while True:
        number = rng.randrange(OBJECTS)
        member = number + OBJECTS * rng.randrange(BACKENDS_EACH)
        kubectl("delete", "mcpserverentry", f"backend-{member}", "--wait=false")
        yield f"backend-{member} is deleted"
        kubectl.apply(_entry(member, number))
        yield f"backend-{member} is created"
        kubectl("delete", "vmcp", f"gate-{number}", "--wait=true")
        yield f"gate-{number} is deleted"
        kubectl.apply(_gateway(number))
        yield f"gate-{number} is created"


def _group(number: int) -> dict[str, Any]:
    return _object("MCPGroup", f"group-{number}", {})


def _entry(number: int, group: int) -> dict[str, Any]:
    url = f"http://{address(number)}:{PORT}/mcp"
    spec = {"groupRef": {"name": f"group-{group}"}, "remoteUrl": url, "transport": "streamable-http"}
    return _object("MCPServerEntry", f"backend-{number}", spec)


def _gateway(number: int) -> dict[str, Any]:
    spec = {
        "groupRef": {"name": f"group-{number}"},
        "incomingAuth": {"type": "anonymous"},
        "config": {"operational": {"failureHandling": _HANDLING}},
    }
    return _object("VirtualMCPServer", f"gate-{number}", spec)


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}
