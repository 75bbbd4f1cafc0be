"""Names, labels and ports of what a VirtualMCPServer owns: the contract that existing manifests and clients rely on."""

import hashlib
import re

from vmcp.kube.client import JsonObject

PORT = 4483
CONTAINER = "vmcp"
CONFIG_FOLDER = "/etc/vmcp-config"
CONFIG_KEY = "config.yaml"
CA_FOLDER = "/etc/toolhive/ca-bundles"
SESSION_KEY = "hmac-secret"
REDIS_PASSWORD = "THV_SESSION_REDIS_PASSWORD"

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
NAME_LABEL_VALUE = "virtualmcpserver"
OWNED_SELECTOR = f"{NAME_LABEL}={NAME_LABEL_VALUE}"

CONTENT_CHECKSUM = "toolhive.stacklok.dev/content-checksum"
RUNCONFIG_CHECKSUM = "toolhive.stacklok.dev/runconfig-checksum"
POD_TEMPLATE_HASH = "toolhive.stacklok.io/podtemplatespec-hash"
PULL_SECRETS_HASH = "toolhive.stacklok.io/imagepullsecrets-hash"

LONGEST_NAME = 63 - len("vmcp-")
"""A Service's name has at most 63 characters."""


def service_name(name: str) -> str:
    """The gateway's Service."""
    return f"vmcp-{name}"


def config_map_name(name: str) -> str:
    """The ConfigMap with the gateway's config.yaml."""
    return f"{name}-vmcp-config"


def account_name(name: str) -> str:
    """The gateway's ServiceAccount, Role and RoleBinding."""
    return f"{name}-vmcp"


def lease_name(name: str) -> str:
    """The Lease in which the gateway tells the operator what its calls show."""
    return f"{name}-vmcp"


def session_secret_name(name: str) -> str:
    """The Secret with the key that seals session ids."""
    return f"{name}-hmac-secret"


def header_variable(backend: str, header: str) -> str:
    """The gateway's environment variable with a header's value; no two headers of any two backends share one."""
    readable = re.sub(r"[^A-Z0-9]", "_", f"{header}_{backend}".upper())
    unique = hashlib.sha256(f"{header.lower()}\0{backend}".encode()).hexdigest()[:8].upper()
    return f"TOOLHIVE_SECRET_HEADER_FORWARD_{readable}_{unique}"


def gateway_url(namespace: str, name: str) -> str:
    """`status.url`: the Service within the cluster; MCP is at /mcp."""
    return f"http://{service_name(name)}.{namespace}.svc.cluster.local:{PORT}"


def selector_labels(name: str) -> dict[str, str]:
    """What the Deployment and the Service select; never changed for an existing name."""
    return {NAME_LABEL: NAME_LABEL_VALUE, INSTANCE_LABEL: name}


def labels(name: str) -> dict[str, str]:
    """On every owned object."""
    return selector_labels(name) | {"app": "virtualmcpserver", "toolhive": "true", "toolhive-name": name}


def owner_reference(owner: JsonObject) -> JsonObject:
    """The owner reference that lets garbage collection take what is owned, without a finalizer."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
