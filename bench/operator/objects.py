"""The objects of the fleet: groups of MCPServerEntries, each behind a VirtualMCPServer."""

from dataclasses import dataclass
from typing import Any, Final

JsonObject = dict[str, Any]

BACKENDS_EACH: Final = 10
_API: Final = "toolhive.stacklok.dev/v1beta1"


@dataclass(frozen=True, slots=True)
class Fleet:
    """VirtualMCPServers in a namespace of their own, each with a group of ten backends of its own.

    Attributes:
        first: number of the first one; no two of a control plane share a number, and so an address.
        port: of all backends.
        interval, timeout: of a check.
    """

    namespace: str
    first: int
    size: int
    port: int
    interval: str = "30s"
    timeout: str = "10s"

    @property
    def numbers(self) -> range:
        """Of the objects."""
        return range(self.first, self.first + self.size)

    def group(self, number: int) -> JsonObject:
        """What gathers its backends."""
        return self._object("MCPGroup", f"group-{number}", {})

    def entries(self, number: int) -> list[JsonObject]:
        """Its backends."""
        return [self._entry(number, member) for member in range(BACKENDS_EACH)]

    def gateway(self, number: int) -> JsonObject:
        """The object itself. One failed check opens a circuit, for so long that nothing else is written meanwhile."""
        handling = {
            "healthCheckInterval": self.interval,
            "healthCheckTimeout": self.timeout,
            "unhealthyThreshold": 1,
            "circuitBreaker": {
                "enabled": True,
                "failureThreshold": 1,
                "timeout": "5m",
            },
        }
        spec = {
            "groupRef": {"name": f"group-{number}"},
            "incomingAuth": {"type": "anonymous"},
            "config": {"operational": {"failureHandling": handling}},
        }
        return self._object("VirtualMCPServer", gateway_name(number), spec)

    def _entry(self, number: int, member: int) -> JsonObject:
        url = f"http://{address(number, member)}:{self.port}/mcp"
        spec = {"groupRef": {"name": f"group-{number}"}, "remoteUrl": url, "transport": "streamable-http"}
        return self._object("MCPServerEntry", backend_name(number, member), spec)

    def _object(self, kind: str, name: str, spec: JsonObject) -> JsonObject:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}


def gateway_name(number: int) -> str:
    """Of a VirtualMCPServer, and of its Deployment."""
    return f"gate-{number}"


def backend_name(number: int, member: int) -> str:
    """Unique over all objects."""
    return f"backend-{number}-{member}"


def address(number: int, member: int) -> str:
    """Of a backend, its own within the loopback network."""
    return f"127.{100 + (number >> 8)}.{number & 255}.{member + 1}"
