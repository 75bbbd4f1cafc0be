"""Whose reconcile an event asks for: an object's own, and those of the objects that are made from it."""

from collections.abc import Iterable

from vmcp.api.kinds import (
    GROUP,
    MCP_GROUP,
    MCP_REMOTE_PROXY,
    MCP_SERVER,
    MCP_SERVER_ENTRY,
    VIRTUAL_MCP_SERVER,
    Kind,
)
from vmcp.kube.client import JsonObject
from vmcp.reconcile.cache import Cache, Key, group_of
from vmcp.reconcile.names import INSTANCE_LABEL, NAME_LABEL, NAME_LABEL_VALUE
from vmcp.reconcile.workloads.names import PROXY, SERVER

_OWNING = {kind.name: kind.plural for kind in (VIRTUAL_MCP_SERVER, MCP_SERVER)}
_BY_APP = {NAME_LABEL_VALUE: VIRTUAL_MCP_SERVER.plural, SERVER: MCP_SERVER.plural, PROXY: MCP_SERVER.plural}


def affected(kind: Kind, obj: JsonObject, cache: Cache) -> set[Key]:
    """The keys to reconcile when this object appeared, changed or left."""
    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    if kind == VIRTUAL_MCP_SERVER:
        return {Key.of(kind, obj)}
    if kind == MCP_GROUP:
        named_in = (VIRTUAL_MCP_SERVER, MCP_SERVER_ENTRY, MCP_REMOTE_PROXY)
        return {Key.of(kind, obj)} | _in_group(named_in, namespace, name, cache)
    if kind in (MCP_SERVER, MCP_SERVER_ENTRY, MCP_REMOTE_PROXY):
        group = group_of(obj)
        parents = {Key(MCP_GROUP.plural, namespace, group)} if group else set()
        return {Key.of(kind, obj)} | parents | _in_group((VIRTUAL_MCP_SERVER,), namespace, group, cache)
    return {Key(plural, namespace, owner) for plural, owner in _owners(obj)}


def _in_group(kinds: Iterable[Kind], namespace: str, group: str, cache: Cache) -> set[Key]:
    return {Key.of(kind, obj) for kind in kinds for obj in cache.in_group(kind, namespace, group)}


def _owners(obj: JsonObject) -> set[tuple[str, str]]:
    """Plural and name of the object of ours that controls it, or, for Pods, of the one that their labels name."""
    owners = {
        (_OWNING[reference["kind"]], reference["name"])
        for reference in obj["metadata"].get("ownerReferences", [])
        if reference["apiVersion"].startswith(GROUP + "/") and reference["kind"] in _OWNING
    }
    labels = obj["metadata"].get("labels") or {}
    app, instance = _BY_APP.get(labels.get(NAME_LABEL, "")), labels.get(INSTANCE_LABEL)
    return owners or ({(app, instance)} if app and instance else set())
