"""The pods of an MCPServer, as they should be: pure functions of its spec."""

from vmcp.api.mcpserver import MCPServerSpec, ResourceQuantities, ServerTransport
from vmcp.kube.client import JsonObject
from vmcp.reconcile.podtemplate import merged
from vmcp.reconcile.workloads import names

USER_ID = 1000
"""Also where the image names root: the restricted Pod Security Standard refuses that one."""


def stateful_set_spec(name: str, spec: MCPServerSpec) -> JsonObject:
    """The StatefulSet. `replicas` is left to whoever scales it (an HPA, `kubectl scale`) unless the spec sets it.

    Raises:
        InvalidPodTemplate: `spec.podTemplateSpec` cannot be merged.
    """
    wanted: JsonObject = {
        "serviceName": names.service_name(name),
        # Ordered, a pod that never becomes ready would block its own replacement by one with a repaired image.
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": names.selector_labels(names.SERVER, name)},
        "template": _template(name, spec),
    }
    replicas = _replicas(spec)
    if replicas is not None:
        wanted["replicas"] = replicas
    return wanted


def container_port(spec: MCPServerSpec) -> int:
    """What the server itself listens on."""
    return spec.mcp_port or names.PORT


def _replicas(spec: MCPServerSpec) -> int | None:
    if spec.replicas == 0:
        return 0
    if spec.transport is ServerTransport.STDIO:
        return min(1, 1 if spec.backend_replicas is None else spec.backend_replicas)
    return spec.backend_replicas


def _template(name: str, spec: MCPServerSpec) -> JsonObject:
    template: JsonObject = {"metadata": {"labels": names.labels(names.SERVER, name)}, "spec": _pod(spec)}
    return merged(template, spec.pod_template_spec) if spec.pod_template_spec else template


def _pod(spec: MCPServerSpec) -> JsonObject:
    """Meets the restricted Pod Security Standard, but for folders of the node."""
    pod: JsonObject = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec)],
    }
    if spec.service_account:
        pod["serviceAccountName"] = spec.service_account
    else:
        pod["automountServiceAccountToken"] = False
    if spec.volumes:
        pod["volumes"] = [{"name": volume.name, "hostPath": {"path": volume.host_path}} for volume in spec.volumes]
    if secrets := pull_secrets(spec):
        pod["imagePullSecrets"] = secrets
    return pod


def pull_secrets(spec: MCPServerSpec) -> list[JsonObject]:
    """Credentials for the registry of the images, each once."""
    overrides = spec.resource_overrides.proxy_deployment if spec.resource_overrides else None
    found = (overrides.image_pull_secrets if overrides else None) or []
    return [{"name": name} for name in dict.fromkeys(secret.name for secret in found) if name]


def _container(spec: MCPServerSpec) -> JsonObject:
    container: JsonObject = {
        "name": names.CONTAINER,
        "image": spec.image,
        "env": _environment(spec),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if spec.args:
        container["args"] = list(spec.args)
    if spec.resources:
        container["resources"] = {
            kind: amounts
            for kind, given in (("limits", spec.resources.limits), ("requests", spec.resources.requests))
            if (amounts := _amounts(given))
        }
    if spec.volumes:
        container["volumeMounts"] = [
            {"name": volume.name, "mountPath": volume.mount_path, "readOnly": volume.read_only}
            for volume in spec.volumes
        ]
    if spec.transport is ServerTransport.STDIO:
        # Once: when the proxy's connection breaks, the server reads the end of its input, ends, and is started again.
        return container | {"stdin": True, "stdinOnce": True}
    port = container_port(spec)
    return container | {
        "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3},
    }


def _environment(spec: MCPServerSpec) -> list[JsonObject]:
    """The spec's variables, its Secrets, and where to listen, which wins: what is probed must be what listens."""
    by_name: dict[str, JsonObject] = {item.name: {"name": item.name, "value": item.value} for item in spec.env or ()}
    for secret in spec.secrets or ():
        name = secret.target_env_name or secret.key
        reference = {"name": secret.name, "key": secret.key}
        by_name[name] = {"name": name, "valueFrom": {"secretKeyRef": reference}}
    ours = {"MCP_TRANSPORT": str(spec.transport)}
    if spec.transport is not ServerTransport.STDIO:
        port = str(container_port(spec))
        ours |= {"MCP_PORT": port, "FASTMCP_PORT": port, "MCP_HOST": "0.0.0.0"}
    return list((by_name | {name: {"name": name, "value": value} for name, value in ours.items()}).values())


def _amounts(given: ResourceQuantities | None) -> JsonObject:
    return given.model_dump(exclude_none=True) if given else {}
