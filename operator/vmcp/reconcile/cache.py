"""What the watches have shown: the latest object of each watched kind, indexed by the group it names.

Confined to one event loop. It is filled by listing before the first reconcile, kept by watch events, and pruned against
a new list after a lost watch, since such a watch never reports what was deleted meanwhile.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from vmcp.api.kinds import Kind
from vmcp.kube.client import JsonObject
from vmcp.kube.sharing import shared
from vmcp.reconcile.names import INSTANCE_LABEL, NAME_LABEL, NAME_LABEL_VALUE


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one object of one kind: what the queue holds."""

    plural: str
    namespace: str
    name: str

    @classmethod
    def of(cls, kind: Kind, obj: JsonObject) -> "Key":
        """The key of an object of that kind."""
        return cls(kind.plural, obj["metadata"]["namespace"], obj["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.plural}/{self.namespace}/{self.name}"


class Cache:
    """Objects by key, by the group they name and by the instance their label names; see the module's text."""

    def __init__(self) -> None:
        self._objects: dict[Key, JsonObject] = {}
        self._index: dict[_Place, set[Key]] = defaultdict(set)
        self._newer: set[Key] | None = None

    def put(self, kind: Kind, obj: JsonObject) -> JsonObject | None:
        """Remember the object; returns what was remembered under its key before."""
        key = Key.of(kind, obj)
        before = self.drop(key)
        self._objects[key] = kept(obj)
        for place in _places(key, obj):
            self._index[place].add(key)
        return before

    def drop(self, key: Key) -> JsonObject | None:
        """Forget the object; returns it where it was known."""
        if self._newer is not None:
            self._newer.add(key)
        before = self._objects.pop(key, None)
        if before is not None:
            for place in _places(key, before):
                self._index[place].discard(key)
                if not self._index[place]:
                    del self._index[place]
        return before

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        """The object as last seen, None where there is none."""
        return self._objects.get(Key(kind.plural, namespace, name))

    def all(self, kind: Kind) -> list[JsonObject]:
        """Every object of a kind."""
        return [obj for key, obj in self._objects.items() if key.plural == kind.plural]

    def in_group(self, kind: Kind, namespace: str, group: str) -> list[JsonObject]:
        """The objects of a kind whose `spec.groupRef.name` is that group, sorted by name."""
        return self._at(_Place(kind.plural, namespace, "group", group))

    def of_instance(self, kind: Kind, namespace: str, instance: str, app: str = NAME_LABEL_VALUE) -> list[JsonObject]:
        """The objects of a kind whose labels name that app and that instance of it, sorted by name."""
        return self._at(_Place(kind.plural, namespace, app, instance))

    def begin_list(self) -> None:
        """A list is about to be read: what watches show from now on may be newer than what it will hold."""
        self._newer = set()

    def prune(self, kind: Kind, listed: Iterable[JsonObject]) -> list[JsonObject]:
        """Take the list begun last for the truth, but for objects that a watch has shown or dropped meanwhile.

        Returns:
            What is gone, new or other than it was remembered: each object as it was, and as it is.
        """
        newer, self._newer = self._newer or set(), None
        fresh = {Key.of(kind, obj): obj for obj in listed}
        known = {key for key in self._objects if key.plural == kind.plural}
        moved = []
        for key in (fresh.keys() | known) - newer:
            after = fresh.get(key)
            before = self._objects.get(key)
            if before is not None and after is not None and _version(before) == _version(after):
                continue
            if after is None:
                self.drop(key)
            else:
                self.put(kind, after)
            moved += [obj for obj in (before, after) if obj is not None]
        return moved

    def _at(self, place: "_Place") -> list[JsonObject]:
        return [self._objects[key] for key in sorted(self._index.get(place, ()))]


@dataclass(frozen=True, slots=True)
class _Place:
    """An entry of the index: by group, or by the app that the name label names."""

    plural: str
    namespace: str
    by: str
    value: str


def kept(obj: JsonObject) -> JsonObject:
    """What is remembered of an object: all but its managedFields, which are half of it and nobody's business here."""
    obj["metadata"].pop("managedFields", None)
    small: JsonObject = shared(obj)
    return small


def _version(obj: JsonObject) -> str:
    return str(obj["metadata"]["resourceVersion"])


def group_of(obj: JsonObject) -> str:
    """The group that the object's `spec.groupRef` names, empty where it names none."""
    spec = obj.get("spec")
    reference = spec.get("groupRef") if isinstance(spec, dict) else None
    return str(reference.get("name", "")) if isinstance(reference, dict) else ""


def _places(key: Key, obj: JsonObject) -> list[_Place]:
    labels = obj["metadata"].get("labels") or {}
    return [
        _Place(key.plural, key.namespace, by, value)
        for by, value in (("group", group_of(obj)), (labels.get(NAME_LABEL, ""), labels.get(INSTANCE_LABEL, "")))
        if by and value
    ]
