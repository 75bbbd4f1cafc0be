"""Manifests of what scenarios apply: backends, groups and gateways, all within the restricted Pod Security Standard."""

from collections.abc import Mapping
from typing import Any

API_VERSION = "toolhive.stacklok.dev/v1beta1"
BACKEND_PORT = 8080

Manifest = dict[str, Any]

QUICK: Manifest = {
    "healthCheckInterval": "4s",
    "healthCheckTimeout": "3s",
    "fastInterval": "1s",
    "unhealthyThreshold": 3,
    "circuitBreaker": {"enabled": True, "failureThreshold": 3, "timeout": "6s", "maxTimeout": "20s"},
}
"""Health checks that open a circuit within seconds."""

_SECURE: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def namespace(name: str) -> Manifest:
    """A namespace that refuses every pod which the restricted standard refuses."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "vmcp-e2e": "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def group(name: str) -> Manifest:
    """An MCPGroup."""
    return _object("MCPGroup", name, {"description": f"{name}, for e2e"})


def backend(name: str, image: str, **environment: str) -> list[Manifest]:
    """An MCP server as a Deployment of one pod, and its Service. `environment` is what the server reads."""
    labels = {"e2e-backend": name}
    container = {
        "name": "mcp",
        "image": image,
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "ports": [{"containerPort": BACKEND_PORT}],
        "readinessProbe": {"tcpSocket": {"port": BACKEND_PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}},
        "securityContext": _SECURE,
    }
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # a broken image must not leave the old pod at work
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "terminationGracePeriodSeconds": 3,
                "automountServiceAccountToken": False,
                "securityContext": secure_pod(),
                "containers": [container],
            },
        },
    }
    service = {"selector": labels, "ports": [{"port": BACKEND_PORT}]}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
    ]


def secure_pod() -> Manifest:
    """A pod's security context that the restricted standard accepts."""
    return {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}


def entry(name: str, group_name: str, in_namespace: str, *, service: str = "", transport: str = "") -> Manifest:
    """An MCPServerEntry for the Service of a backend, its own name where `service` is not given."""
    transport = transport or "streamable-http"
    path = "sse" if transport == "sse" else "mcp"
    url = f"http://{service or name}.{in_namespace}.svc.cluster.local:{BACKEND_PORT}/{path}"
    spec = {"groupRef": {"name": group_name}, "remoteUrl": url, "transport": transport}
    return _object("MCPServerEntry", name, spec)


def remote_proxy(name: str, group_name: str, in_namespace: str, *, service: str, **spec: Any) -> Manifest:
    """An MCPRemoteProxy for the Service of a backend."""
    url = f"http://{service}.{in_namespace}.svc.cluster.local:{BACKEND_PORT}/mcp"
    return _object("MCPRemoteProxy", name, {"groupRef": {"name": group_name}, "remoteUrl": url} | spec)


def secret(name: str, **values: str) -> Manifest:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def redis(image: str, password: str) -> list[Manifest]:
    """A Redis that forgets everything when it ends, of the backends' image; its Service is `redis`, port 6379."""
    command = ["redis-server", "--save", "", "--bind", "0.0.0.0", "--dir", "/tmp", "--requirepass", password]
    deployment, service = backend("redis", image)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container |= {"command": command, "ports": [{"containerPort": 6379}]}
    container["readinessProbe"] = {"tcpSocket": {"port": 6379}, "periodSeconds": 1}
    service["spec"]["ports"] = [{"port": 6379}]
    return [deployment, service]


def server(name: str, group_name: str, image: str, **spec: Any) -> Manifest:
    """An MCPServer that the operator runs; `spec` adds to what it is or replaces it."""
    own: Manifest = {
        "image": image,
        "groupRef": {"name": group_name},
        "transport": "streamable-http",
        "proxyPort": BACKEND_PORT,
        "mcpPort": BACKEND_PORT,
        "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}},
        "podTemplateSpec": {"spec": {"terminationGracePeriodSeconds": 3}},
    }
    return _object("MCPServer", name, own | spec)


def gateway(name: str, group_name: str, *, health: Mapping[str, Any] = QUICK, **spec: Any) -> Manifest:
    """A VirtualMCPServer, small, on a NodePort, so that this machine reaches its Service."""
    own: Manifest = {
        "groupRef": {"name": group_name},
        "incomingAuth": {"type": "anonymous"},
        "serviceType": "NodePort",
        "podTemplateSpec": {
            "spec": {"containers": [{"name": "vmcp", "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}]}
        },
        "config": {"operational": {"failureHandling": dict(health)}},
    }
    return _object("VirtualMCPServer", name, own | spec)


def _object(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
