"""The objects that an MCPServer owns, as they should be: pure functions of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from vmcp.api.kinds import Kind
from vmcp.api.mcpserver import MCPServerSpec, MetadataOverrides, ServerTransport
from vmcp.kube.client import JsonObject
from vmcp.kube.kinds import DEPLOYMENT, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET
from vmcp.reconcile.desired import Owned
from vmcp.reconcile.names import owner_reference
from vmcp.reconcile.workloads import names, proxy, server


@dataclass(frozen=True, slots=True)
class ServerWanted:
    """What the owned objects are made of.

    Attributes:
        owner: the MCPServer as stored.
        proxy_image: of the proxy in front of a stdio server.
    """

    owner: JsonObject
    spec: MCPServerSpec
    proxy_image: str

    @property
    def name(self) -> str:
        """The MCPServer's name."""
        return str(self.owner["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The MCPServer's namespace."""
        return str(self.owner["metadata"]["namespace"])


def desired(wanted: ServerWanted) -> list[Owned]:
    """Every owned object. The StatefulSet is first: whether its name is taken shows before anything else is made.

    Raises:
        InvalidPodTemplate: `spec.podTemplateSpec` cannot be merged.
    """
    stateful_set = _head(wanted, STATEFUL_SET, wanted.name) | {
        "spec": server.stateful_set_spec(wanted.name, wanted.spec)
    }
    fronted = wanted.spec.transport is ServerTransport.STDIO
    return [
        Owned(STATEFUL_SET, stateful_set),
        Owned(SERVICE, _service(wanted, names.PROXY if fronted else names.SERVER)),
        *(_proxy(wanted) if fronted else ()),
    ]


def possible(name: str) -> list[tuple[Kind, str]]:
    """Kind and name of all that any MCPServer of that name may own, last made first."""
    proxied = names.proxy_name(name)
    return [
        *((kind, proxied) for kind in (DEPLOYMENT, ROLE_BINDING, ROLE, SERVICE_ACCOUNT)),
        (SERVICE, names.service_name(name)),
        (STATEFUL_SET, name),
    ]


def _proxy(wanted: ServerWanted) -> list[Owned]:
    name = names.proxy_name(wanted.name)
    overrides = wanted.spec.resource_overrides.proxy_deployment if wanted.spec.resource_overrides else None
    deployment = proxy.deployment_spec(wanted.namespace, wanted.name, wanted.spec, wanted.proxy_image)
    return [
        Owned(SERVICE_ACCOUNT, _head(wanted, SERVICE_ACCOUNT, name, names.PROXY)),
        Owned(ROLE, _head(wanted, ROLE, name, names.PROXY) | {"rules": proxy.role_rules(wanted.name)}),
        Owned(
            ROLE_BINDING,
            _head(wanted, ROLE_BINDING, name, names.PROXY) | proxy.role_binding(wanted.namespace, wanted.name),
        ),
        Owned(DEPLOYMENT, _head(wanted, DEPLOYMENT, name, names.PROXY, overrides) | {"spec": deployment}),
    ]


def _service(wanted: ServerWanted, selected: str) -> JsonObject:
    overrides = wanted.spec.resource_overrides.proxy_service if wanted.spec.resource_overrides else None
    target = wanted.spec.proxy_port if selected == names.PROXY else server.container_port(wanted.spec)
    return _head(wanted, SERVICE, names.service_name(wanted.name), names.SERVER, overrides) | {
        "spec": {
            "type": "ClusterIP",
            "sessionAffinity": str(wanted.spec.session_affinity),
            "selector": names.selector_labels(selected, wanted.name),
            "ports": [{"name": "http", "port": wanted.spec.proxy_port, "targetPort": target, "protocol": "TCP"}],
        }
    }


def _head(
    wanted: ServerWanted, kind: Kind, name: str, app: str = names.SERVER, overrides: MetadataOverrides | None = None
) -> JsonObject:
    """Ours win over the overrides: by our labels the object is found again."""
    metadata: JsonObject = {
        "name": name,
        "namespace": wanted.namespace,
        "labels": {**_given(overrides.labels if overrides else None), **names.labels(app, wanted.name)},
        "ownerReferences": [owner_reference(wanted.owner)],
    }
    if annotations := _given(overrides.annotations if overrides else None):
        metadata["annotations"] = annotations
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


def _given(values: Mapping[str, str] | None) -> dict[str, str]:
    return dict(values or {})
