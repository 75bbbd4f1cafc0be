"""Objects as the API server would hand them out, around one VirtualMCPServer `gate` of the group `team`."""

import copy
from typing import Any

from tests.api import samples

from vmcp.api.virtualmcpserver import VirtualMCPServerSpec
from vmcp.reconcile.plan import Plan, Surroundings, plan

NAMESPACE = "prod"
IMAGE = "example.com/vmcp:1"
JsonObject = dict[str, Any]


def stored(manifest: JsonObject, name: str, *, uid: str = "", version: str = "1", **metadata: Any) -> JsonObject:
    """A manifest as stored."""
    obj = copy.deepcopy(manifest)
    obj["metadata"] = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": uid or f"uid-of-{name}",
        "generation": 1,
        "resourceVersion": version,
        **metadata,
    }
    return obj


def gate(name: str = "gate", **spec: Any) -> JsonObject:
    return stored(samples.vmcp(**spec), name)


def group(**metadata: Any) -> JsonObject:
    return stored(samples.manifest("MCPGroup", {}), "team", **metadata)


def server(name: str = "search", *, url: str | None = "http://search.prod.svc:8080/mcp", **spec: Any) -> JsonObject:
    obj = stored(samples.server(groupRef={"name": "team"}, **spec), name)
    return obj if url is None else obj | {"status": {"url": url}}


def entry(name: str = "remote", **spec: Any) -> JsonObject:
    return stored(samples.entry(**spec), name)


def proxy(name: str = "far", **spec: Any) -> JsonObject:
    fields = {"groupRef": {"name": "team"}, "remoteUrl": "https://far.example.com/mcp", **spec}
    return stored(samples.manifest("MCPRemoteProxy", fields), name)


def inline(
    name: str = "own", url: str = "http://own.prod.svc:8080/mcp", transport: str = "streamable-http"
) -> JsonObject:
    return {"name": name, "url": url, "transport": transport}


def spec_of(**spec: Any) -> VirtualMCPServerSpec:
    return VirtualMCPServerSpec.model_validate(samples.vmcp(**spec)["spec"])


def judged(
    owner: JsonObject | None = None,
    *,
    servers: tuple[JsonObject, ...] = (),
    entries: tuple[JsonObject, ...] = (),
    proxies: tuple[JsonObject, ...] = (),
    authorities: dict[tuple[str, str], str] | None = None,
    image: str = IMAGE,
) -> Plan:
    """The plan for an object whose group exists."""
    around = Surroundings(group(), servers, entries, authorities or {}, proxies)
    return plan(owner or gate(), around, image=image)
