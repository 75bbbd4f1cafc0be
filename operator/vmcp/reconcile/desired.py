"""The objects that a VirtualMCPServer owns, as they should be: pure functions of its spec and its backends."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from vmcp.api.gatewayconfig import GatewayConfig, dump_gateway_config
from vmcp.api.kinds import VIRTUAL_MCP_SERVER, Kind
from vmcp.api.session import SessionProvider, SessionStorage
from vmcp.api.virtualmcpserver import VirtualMCPServerSpec
from vmcp.kube.client import JsonObject
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, LEASE, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT
from vmcp.reconcile import names
from vmcp.reconcile.members import CaBundle, SecretHeader
from vmcp.reconcile.podtemplate import merged
from vmcp.reconcile.restricted import container_security, http_probe, pod_security


@dataclass(frozen=True, slots=True)
class Owned:
    """One desired object and its kind."""

    kind: Kind
    body: JsonObject

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.body["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the owned objects are made of.

    Attributes:
        owner: the VirtualMCPServer as stored.
        image: of the gateway.
    """

    owner: JsonObject
    spec: VirtualMCPServerSpec
    config: GatewayConfig
    ca_bundles: Sequence[CaBundle]
    image: str
    secret_headers: Sequence[SecretHeader] = ()

    @property
    def name(self) -> str:
        """The VirtualMCPServer's name."""
        return str(self.owner["metadata"]["name"])


def desired(wanted: Wanted) -> list[Owned]:
    """Every owned object, in the order in which they are applied: what a pod needs comes before the Deployment.

    Raises:
        InvalidPodTemplate: the spec's podTemplateSpec cannot be merged.
    """
    account = (
        []
        if wanted.spec.service_account
        else [Owned(SERVICE_ACCOUNT, _head(wanted, SERVICE_ACCOUNT, names.account_name(wanted.name)))]
    )
    return [
        *account,
        Owned(ROLE, _role(wanted)),
        Owned(ROLE_BINDING, _role_binding(wanted)),
        # Made here, so that the gateway needs no right to create one.
        Owned(LEASE, _head(wanted, LEASE, names.lease_name(wanted.name))),
        Owned(CONFIG_MAP, config_map(wanted)),
        Owned(SERVICE, _service(wanted)),
        Owned(DEPLOYMENT, deployment(wanted)),
    ]


def config_map(wanted: Wanted) -> JsonObject:
    """The gateway's configuration, which it reloads by itself."""
    text = dump_gateway_config(wanted.config)
    body = _head(wanted, CONFIG_MAP, names.config_map_name(wanted.name))
    body["metadata"]["labels"] |= {
        "toolhive.stacklok.io/component": "vmcp-config",
        "toolhive.stacklok.io/virtual-mcp-server": wanted.name,
        "toolhive.stacklok.io/managed-by": "toolhive-operator",
    }
    body["metadata"]["annotations"] = {names.CONTENT_CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}
    return body | {"data": {names.CONFIG_KEY: text}}


def deployment(wanted: Wanted) -> JsonObject:
    """The gateway. `replicas` is left to whoever scales it (an HPA, `kubectl scale`) unless the spec sets it.

    Raises:
        InvalidPodTemplate: the spec's podTemplateSpec cannot be merged.
    """
    spec: JsonObject = {
        "selector": {"matchLabels": names.selector_labels(wanted.name)},
        "template": pod_template(wanted),
    }
    if wanted.spec.replicas is not None:
        spec["replicas"] = wanted.spec.replicas
    body = _head(wanted, DEPLOYMENT, wanted.name) | {"spec": spec}
    hashed = {
        names.POD_TEMPLATE_HASH: wanted.spec.pod_template_spec,
        names.PULL_SECRETS_HASH: [secret.name for secret in wanted.spec.image_pull_secrets or ()],
    }
    if annotations := {name: _checksum(value) for name, value in hashed.items() if value}:
        body["metadata"]["annotations"] = annotations
    return body


def pod_template(wanted: Wanted) -> JsonObject:
    """Ours, and the spec's podTemplateSpec over it.

    Raises:
        InvalidPodTemplate: it cannot be merged.
    """
    pod = _pod(wanted)
    storage = wanted.config.session_storage
    # The one part of its configuration that a gateway does not take over while it runs.
    unloadable = [pod, storage.model_dump(mode="json")] if storage else pod
    metadata = {"labels": names.labels(wanted.name), "annotations": {names.RUNCONFIG_CHECKSUM: _checksum(unloadable)}}
    return merged({"metadata": metadata, "spec": pod}, wanted.spec.pod_template_spec or {})


def _head(wanted: Wanted, kind: Kind, name: str) -> JsonObject:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "name": name,
            "namespace": wanted.owner["metadata"]["namespace"],
            "labels": names.labels(wanted.name),
            "ownerReferences": [names.owner_reference(wanted.owner)],
        },
    }


def _role(wanted: Wanted) -> JsonObject:
    """The gateway reads its own object and its own ConfigMap, and patches its own Lease, nothing else."""
    own = {"verbs": ["get", "list", "watch"]}
    rules = [
        own
        | {
            "apiGroups": [VIRTUAL_MCP_SERVER.group],
            "resources": [VIRTUAL_MCP_SERVER.plural],
            "resourceNames": [wanted.name],
        },
        own
        | {
            "apiGroups": [""],
            "resources": [CONFIG_MAP.plural],
            "resourceNames": [names.config_map_name(wanted.name)],
        },
        {
            "verbs": ["patch"],
            "apiGroups": [LEASE.group],
            "resources": [LEASE.plural],
            "resourceNames": [names.lease_name(wanted.name)],
        },
    ]
    return _head(wanted, ROLE, names.account_name(wanted.name)) | {"rules": rules}


def _role_binding(wanted: Wanted) -> JsonObject:
    name = names.account_name(wanted.name)
    subject = {
        "kind": "ServiceAccount",
        # That of the pod in the end: a podTemplateSpec may name another.
        "name": pod_template(wanted)["spec"].get("serviceAccountName") or "default",
        "namespace": wanted.owner["metadata"]["namespace"],
    }
    reference = {"apiGroup": ROLE.group, "kind": "Role", "name": name}
    return _head(wanted, ROLE_BINDING, name) | {"subjects": [subject], "roleRef": reference}


def _service(wanted: Wanted) -> JsonObject:
    port = {"name": "http", "port": names.PORT, "targetPort": "http", "protocol": "TCP"}
    return _head(wanted, SERVICE, names.service_name(wanted.name)) | {
        "spec": {
            "type": str(wanted.spec.service_type),
            "sessionAffinity": str(wanted.spec.session_affinity),
            "selector": names.selector_labels(wanted.name),
            "ports": [port],
        }
    }


def _pod(wanted: Wanted) -> JsonObject:
    """Meets the restricted Pod Security Standard."""
    pod: JsonObject = {
        "serviceAccountName": _service_account(wanted),
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "containers": [_container(wanted)],
        "volumes": [
            {"name": "vmcp-config", "configMap": {"name": names.config_map_name(wanted.name)}},
            *(_ca_volume(bundle) for bundle in wanted.ca_bundles),
        ],
    }
    if wanted.spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret.name} for secret in wanted.spec.image_pull_secrets]
    return pod


def _container(wanted: Wanted) -> JsonObject:
    args = [
        "serve",
        f"--config={names.CONFIG_FOLDER}/{names.CONFIG_KEY}",
        "--host=0.0.0.0",
        f"--port={names.PORT}",
    ]
    if wanted.config.operational and wanted.config.operational.log_level:
        args.append("--debug")
    session_key = {"name": names.session_secret_name(wanted.name), "key": names.SESSION_KEY, "optional": True}
    return {
        "name": names.CONTAINER,
        "image": wanted.image,
        "args": args,
        "ports": [{"name": "http", "containerPort": names.PORT, "protocol": "TCP"}],
        "env": [
            {"name": "VMCP_NAME", "value": wanted.name},
            {"name": "VMCP_NAMESPACE", "value": wanted.owner["metadata"]["namespace"]},
            {"name": "VMCP_SESSION_HMAC_SECRET", "valueFrom": {"secretKeyRef": session_key}},
            *_redis_password(wanted.spec.session_storage),
            *(_header_variable(header) for header in wanted.secret_headers),
        ],
        "livenessProbe": http_probe("/health", initial=30, period=10, timeout=5),
        "readinessProbe": http_probe("/readyz", initial=1, period=5, timeout=3),
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "500m", "memory": "512Mi"},
        },
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "vmcp-config", "mountPath": names.CONFIG_FOLDER, "readOnly": True},
            *(
                {
                    "name": _ca_volume_name(bundle),
                    "mountPath": f"{names.CA_FOLDER}/{bundle.backend}",
                    "readOnly": True,
                }
                for bundle in wanted.ca_bundles
            ),
        ],
    }


def _redis_password(storage: SessionStorage | None) -> list[JsonObject]:
    if storage is None or storage.provider is not SessionProvider.REDIS or storage.password_ref is None:
        return []
    reference = {"name": storage.password_ref.name, "key": storage.password_ref.key}
    return [{"name": names.REDIS_PASSWORD, "valueFrom": {"secretKeyRef": reference}}]


def _header_variable(header: SecretHeader) -> JsonObject:
    # Optional: one backend's missing Secret must not keep the pod, and with it every other backend, from starting.
    reference = {"name": header.secret, "key": header.key, "optional": True}
    return {"name": header.variable, "valueFrom": {"secretKeyRef": reference}}


def _ca_volume(bundle: CaBundle) -> JsonObject:
    source = {"name": bundle.config_map, "items": [{"key": bundle.key, "path": bundle.key}]}
    return {"name": _ca_volume_name(bundle), "configMap": source}


def _ca_volume_name(bundle: CaBundle) -> str:
    """Within the 63 characters of a volume's name, whatever the backend's."""
    return "ca-" + hashlib.sha256(bundle.backend.encode()).hexdigest()[:16]


def _service_account(wanted: Wanted) -> str:
    return wanted.spec.service_account or names.account_name(wanted.name)


def _checksum(value: object) -> str:
    """Of a pod it covers what a running gateway cannot reload: the pod itself. Its configuration it reloads."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
