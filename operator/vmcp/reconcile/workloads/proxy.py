"""The proxy in front of a stdio server: it attaches to the server's input and output, and speaks HTTP to clients."""

from vmcp.api.mcpserver import MCPServerSpec
from vmcp.kube.client import JsonObject
from vmcp.kube.kinds import ROLE
from vmcp.reconcile.restricted import container_security, http_probe, pod_security
from vmcp.reconcile.workloads import names
from vmcp.reconcile.workloads.server import pull_secrets

_CONTAINER = "proxy"


def role_rules(name: str) -> list[JsonObject]:
    """What the proxy may do: attach to the one pod of its server.

    Over a WebSocket that is `get` by older API servers, `get` and `create` by newer ones.
    """
    pod = [names.stdio_pod_name(name)]
    return [
        {"apiGroups": [""], "resources": ["pods/attach"], "resourceNames": pod, "verbs": ["create", "get"]},
    ]


def role_binding(namespace: str, name: str) -> JsonObject:
    """Who may: the proxy's own ServiceAccount."""
    proxy = names.proxy_name(name)
    return {
        "subjects": [{"kind": "ServiceAccount", "name": proxy, "namespace": namespace}],
        "roleRef": {"apiGroup": ROLE.group, "kind": ROLE.name, "name": proxy},
    }


def deployment_spec(namespace: str, name: str, spec: MCPServerSpec, image: str) -> JsonObject:
    """One pod, and never two: a container's input has room for one."""
    overrides = spec.resource_overrides.proxy_deployment if spec.resource_overrides else None
    metadata = overrides.pod_template_metadata_overrides if overrides else None
    template: JsonObject = {
        "metadata": {"labels": {**((metadata and metadata.labels) or {}), **names.labels(names.PROXY, name)}},
        "spec": _pod(namespace, name, spec, image),
    }
    if metadata and metadata.annotations:
        template["metadata"]["annotations"] = dict(metadata.annotations)
    return {
        "replicas": 0 if 0 in (spec.replicas, spec.backend_replicas) else 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": names.selector_labels(names.PROXY, name)},
        "template": template,
    }


def _pod(namespace: str, name: str, spec: MCPServerSpec, image: str) -> JsonObject:
    """Meets the restricted Pod Security Standard."""
    pod: JsonObject = {
        "serviceAccountName": names.proxy_name(name),
        "securityContext": pod_security(),
        "containers": [_container(namespace, name, spec, image)],
    }
    if secrets := pull_secrets(spec):
        pod["imagePullSecrets"] = secrets
    return pod


def _container(namespace: str, name: str, spec: MCPServerSpec, image: str) -> JsonObject:
    overrides = spec.resource_overrides.proxy_deployment if spec.resource_overrides else None
    environment = (overrides.env if overrides else None) or []
    container: JsonObject = {
        "name": _CONTAINER,
        "image": image,
        "args": [
            "stdio",
            f"--namespace={namespace}",
            f"--pod={names.stdio_pod_name(name)}",
            f"--container={names.CONTAINER}",
            "--host=0.0.0.0",
            f"--port={spec.proxy_port}",
        ],
        "ports": [{"name": "http", "containerPort": spec.proxy_port, "protocol": "TCP"}],
        "livenessProbe": http_probe("/health", initial=10, period=10, timeout=5),
        "readinessProbe": http_probe("/readyz", initial=1, period=2, timeout=2),
        "resources": {
            "requests": {"cpu": "10m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "256Mi"},
        },
        "securityContext": container_security(),
    }
    if environment:
        container["env"] = [{"name": item.name, "value": item.value} for item in environment]
    return container
