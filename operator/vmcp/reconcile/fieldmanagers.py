"""Who else decides about an object, as its managedFields tell: another operator, or a rival for single fields. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vmcp.kube.client import FIELD_MANAGER, JsonObject

STOPPING_MANAGER: Final = "vmcp-operator-stop"
OTHER_OPERATORS: Final = frozenset({"thv-operator", "toolhive-operator"})
"""Managers that are another operator for the same kinds, whatever else is known of them: ToolHive's writes under the
name of its binary."""

_OURS: Final = frozenset({FIELD_MANAGER, STOPPING_MANAGER})
_PERSONS: Final = "kubectl"
"""Managers whose name begins so are a person at work: `kubectl-edit`, `kubectl-rollout`, `kubectl-set`."""
_CLUSTERS: Final = frozenset({"kube-controller-manager"})


def foreign_operator(workload: JsonObject) -> str:
    """The manager of another operator that decides what runs in a workload's pods; empty where there is none.

    What decides is the image of a container. An operator of ToolHive's that holds one is at work. Any other manager
    counts only where we have never applied anything: afterwards it is one that adds a sidecar, or a rival.
    """
    holders = {manager for manager, fields in _entries(workload) if _holds_image(fields)} - _OURS
    if named := holders & OTHER_OPERATORS:
        return min(named)
    if any(manager == FIELD_MANAGER and "f:spec" in fields for manager, fields in _entries(workload)):
        return ""
    return min((manager for manager in holders if not manager.startswith(_PERSONS)), default="")


def last_writer(obj: JsonObject) -> str:
    """The manager other than us and the cluster that wrote last; empty where there is none."""
    entries = [
        (str(entry.get("time", "")), str(entry.get("manager", "")))
        for entry in obj["metadata"].get("managedFields") or ()
        if not entry.get("subresource")
    ]
    return max(((time, manager) for time, manager in entries if manager not in _OURS | _CLUSTERS), default=("", ""))[1]


def _entries(obj: JsonObject) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for entry in obj["metadata"].get("managedFields") or ():
        if not entry.get("subresource"):
            yield str(entry.get("manager", "")), entry.get("fieldsV1") or {}


def _holds_image(fields: Mapping[str, Any]) -> bool:
    containers: Any = fields
    for name in ("f:spec", "f:template", "f:spec", "f:containers"):
        containers = containers.get(name) if isinstance(containers, Mapping) else None
    return isinstance(containers, Mapping) and any(
        isinstance(container, Mapping) and "f:image" in container for container in containers.values()
    )
