"""Names, labels and ports of what an MCPServer owns: the contract that existing manifests and clients rely on."""

from vmcp.api.mcpserver import MCPServerSpec, ServerTransport
from vmcp.reconcile.names import INSTANCE_LABEL, NAME_LABEL, NAME_LABEL_VALUE

CONTAINER = "mcp"
PORT = 8080
"""What the server listens on where `spec.mcpPort` is unset."""

SERVER = "mcpserver"
"""Value of the name label on the server's pods and on all that belongs to them."""
PROXY = "mcpserver-proxy"
"""Value of the name label on the proxy in front of a stdio server."""

SELECTOR_WITH_SERVERS = f"{NAME_LABEL} in ({','.join((NAME_LABEL_VALUE, SERVER, PROXY))})"
"""What is watched: what VirtualMCPServers and MCPServers own."""

LONGEST_NAME = 63 - len("-0123456789")
"""A StatefulSet's pods carry its name and a hash as one label value, of at most 63 characters."""


def service_name(name: str) -> str:
    """Where clients reach the server."""
    return f"mcp-{name}-proxy"


def proxy_name(name: str) -> str:
    """The stdio proxy's Deployment, ServiceAccount, Role and RoleBinding."""
    return f"{name}-proxy"


def stdio_pod_name(name: str) -> str:
    """The one pod of a stdio server, to which its proxy attaches."""
    return f"{name}-0"


def server_url(namespace: str, name: str, spec: MCPServerSpec) -> str:
    """`status.url`: the endpoint within the cluster."""
    path = "sse" if spec.transport is ServerTransport.SSE else "mcp"
    return f"http://{service_name(name)}.{namespace}.svc.cluster.local:{spec.proxy_port}/{path}"


def selector_labels(app: str, name: str) -> dict[str, str]:
    """What a StatefulSet, a Deployment and a Service select; never changed for an existing name."""
    return {NAME_LABEL: app, INSTANCE_LABEL: name}


def labels(app: str, name: str) -> dict[str, str]:
    """On every owned object. The server's pods carry `app=<name>`."""
    return selector_labels(app, name) | {
        "app": name if app == SERVER else app,
        "toolhive": "true",
        "toolhive-name": name,
    }
