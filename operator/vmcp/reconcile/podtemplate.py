"""A user's podTemplateSpec over the pod template that the operator makes: a strategic merge as Kubernetes defines it.

Objects are merged, null deletes, a list replaces ours unless Kubernetes gives its items a key, by which they are then
merged. `$patch: replace` and `$patch: delete` work; a directive that nothing here knows is refused, never ignored.

The user's word wins but for what the workload cannot be without: labels and annotations that the operator sets keep
its values, and its containers, its volumes and where they are mounted must stay as they are, or the whole is refused.
Field names and keys: the `patchMergeKey`s of PodTemplateSpec in k8s.io/api/core/v1.
"""

import copy
from collections.abc import Iterable
from typing import Any, Final

from vmcp.api.problem import Problem, field_path
from vmcp.kube.client import JsonObject

PATH: Final = ("spec", "podTemplateSpec")

_KEYS: Final = {
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_ONE_OF_MANY: Final = frozenset({"env", "volumes", "resourceClaims"})
"""Lists whose items have, beside their key, one source of several: another source replaces ours."""
_OPTION: Final = "$patch"
_Path = tuple[str | int, ...]


class InvalidPodTemplate(Exception):
    """The podTemplateSpec cannot be merged; `problem` says where it is wrong and what to write instead."""

    def __init__(self, path: _Path, message: str) -> None:
        self.problem = Problem(field_path(*path), message)
        super().__init__(str(self.problem))


def merged(template: JsonObject, override: JsonObject) -> JsonObject:
    """The template with the override merged in; neither argument is changed.

    Raises:
        InvalidPodTemplate: the override is malformed, or takes away what the template cannot be without.
    """
    result = _objects(template, override, PATH)
    if not isinstance(result.get("spec"), dict):
        raise InvalidPodTemplate((*PATH, "spec"), "must stay; remove the null or the $patch")
    _keep_metadata(template, result)
    _check_kept(template["spec"], result["spec"])
    return result


def _objects(ours: JsonObject, theirs: JsonObject, path: _Path) -> JsonObject:
    directive = theirs.get(_OPTION)
    if directive == "delete":
        return {}
    if directive not in (None, "merge", "replace"):
        raise InvalidPodTemplate((*path, _OPTION), f"{directive!r} is none of merge, replace and delete")
    result: JsonObject = {} if directive == "replace" else copy.deepcopy(ours)
    for name, value in theirs.items():
        if name == _OPTION:
            continue
        if name.startswith("$"):
            raise InvalidPodTemplate((*path, name), f"only {_OPTION} is known; write the fields as they should be")
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _value(result.get(name), value, name, (*path, name))
    return result


def _value(ours: Any, theirs: Any, name: str, path: _Path) -> Any:
    if name in _KEYS and (isinstance(theirs, list) or isinstance(ours, list)):
        return _items(ours or [], theirs, name, path)
    if isinstance(ours, dict) and not isinstance(theirs, dict):
        raise InvalidPodTemplate(path, "must be an object")
    if isinstance(ours, list) and not isinstance(theirs, list):
        raise InvalidPodTemplate(path, "must be a list")
    if isinstance(theirs, dict):
        # Also where we have nothing: nulls and directives are no part of the result.
        return _objects(ours if isinstance(ours, dict) else {}, theirs, path)
    return copy.deepcopy(theirs)


def _items(ours: list[JsonObject], theirs: Any, name: str, path: _Path) -> list[JsonObject]:
    key = _KEYS[name]
    if not isinstance(theirs, list) or not all(isinstance(item, dict) for item in theirs):
        raise InvalidPodTemplate(path, "must be a list of objects")
    replaces = any(item == {_OPTION: "replace"} for item in theirs)
    result = {} if replaces else {_hashable(item[key]): copy.deepcopy(item) for item in ours}
    for index, item in enumerate(theirs):
        if item == {_OPTION: "replace"}:
            continue
        where = (*path, index)
        if item.get(key) is None:
            raise InvalidPodTemplate((*where, key), "is required; set it")
        value = _hashable(item[key])
        if item.get(_OPTION) == "delete":
            result.pop(value, None)
            continue
        before = result.get(value, {})
        if name in _ONE_OF_MANY and not set(before) >= {field for field in item if field != _OPTION}:
            before = {}
        result[value] = _objects(before, item, where)
    return list(result.values())


def _hashable(value: Any) -> str | int:
    return value if isinstance(value, str | int) else repr(value)


def _keep_metadata(template: JsonObject, result: JsonObject) -> None:
    """The selector finds pods by our labels, and our annotations say when a pod must be replaced."""
    kept = template.get("metadata", {})
    metadata = result.setdefault("metadata", {})
    for part in ("labels", "annotations"):
        if part in kept:
            metadata[part] = (metadata.get(part) or {}) | kept[part]


def _check_kept(template: JsonObject, result: JsonObject) -> None:
    container_path = (*PATH, "spec", "containers")
    containers = {container["name"]: container for container in result.get("containers", [])}
    for container in template["containers"]:
        name = container["name"]
        if name not in containers:
            raise InvalidPodTemplate(container_path, f"the container {name} must stay; do not delete or replace it")
        for mount in _changed(container.get("volumeMounts"), containers[name].get("volumeMounts"), "mountPath"):
            raise InvalidPodTemplate(
                container_path, f"the volume mount {mount} of container {name} must stay as it is; mount elsewhere"
            )
    for volume in _changed(template.get("volumes"), result.get("volumes"), "name"):
        raise InvalidPodTemplate(
            (*PATH, "spec", "volumes"), f"the volume {volume} is the operator's; choose another name"
        )


def _changed(before: Iterable[JsonObject] | None, after: Iterable[JsonObject] | None, key: str) -> list[str]:
    kept = {item[key]: item for item in after or ()}
    return [str(item[key]) for item in before or () if kept.get(item[key]) != item]
