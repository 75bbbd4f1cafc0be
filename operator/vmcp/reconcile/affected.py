"""Whose reconcile an event asks for: an object's own, and those of the objects that are made from it."""

from collections.abc import Iterable

from vmcp.api.kinds import GROUP, MCP_GROUP, MCP_SERVER, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER, Kind
from vmcp.kube.client import JsonObject
from vmcp.reconcile.cache import Cache, Key, group_of
from vmcp.reconcile.names import INSTANCE_LABEL


def affected(kind: Kind, obj: JsonObject, cache: Cache) -> set[Key]:
    """The keys to reconcile when this object appeared, changed or left."""
    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    if kind == VIRTUAL_MCP_SERVER:
        return {Key.of(kind, obj)}
    if kind == MCP_GROUP:
        named_in = (VIRTUAL_MCP_SERVER, MCP_SERVER_ENTRY)
        return {Key.of(kind, obj)} | _in_group(named_in, namespace, name, cache)
    if kind in (MCP_SERVER, MCP_SERVER_ENTRY):
        group = group_of(obj)
        own = {Key.of(kind, obj)} if kind == MCP_SERVER_ENTRY else set()
        parents = {Key(MCP_GROUP.plural, namespace, group)} if group else set()
        return own | parents | _in_group((VIRTUAL_MCP_SERVER,), namespace, group, cache)
    return {Key(VIRTUAL_MCP_SERVER.plural, namespace, owner) for owner in _owners(obj)}


def _in_group(kinds: Iterable[Kind], namespace: str, group: str, cache: Cache) -> set[Key]:
    return {Key.of(kind, obj) for kind in kinds for obj in cache.in_group(kind, namespace, group)}


def _owners(obj: JsonObject) -> set[str]:
    """The VirtualMCPServer that controls the object, or, for its Pods, the one that their label names."""
    references = obj["metadata"].get("ownerReferences", [])
    owners = {
        reference["name"]
        for reference in references
        if reference["kind"] == VIRTUAL_MCP_SERVER.name and reference["apiVersion"].startswith(GROUP + "/")
    }
    label = (obj["metadata"].get("labels") or {}).get(INSTANCE_LABEL)
    return owners or ({label} if label else set())
