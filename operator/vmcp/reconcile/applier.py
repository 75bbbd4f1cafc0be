"""The one place that writes owned objects: server-side apply of what is ours, and of nothing else."""

import base64
import json
import secrets
from dataclasses import dataclass

from vmcp.api.kinds import Kind
from vmcp.kube.client import Conflict, JsonObject, Kube, NotFound
from vmcp.kube.kinds import DEPLOYMENT, LEASE, SECRET
from vmcp.reconcile.desired import Owned
from vmcp.reconcile.names import SESSION_KEY, labels, owner_reference, session_secret_name

STOPPING_MANAGER = "vmcp-operator-stop"
STOPPED = "toolhive.stacklok.dev/stopped"
"""Annotation on a Deployment that was scaled to 0 because nothing may be served; its value says why."""
REPLICAS_BEFORE = "toolhive.stacklok.dev/replicas-before-stop"
"""Annotation beside it: the number that `resume` gives back. Whoever scaled it lost the field to the stop."""


class NameTaken(Exception):
    """An object of the wanted name exists that the VirtualMCPServer does not control; it was not touched."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} {name} exists and belongs to somebody else; delete or rename it, or rename the VirtualMCPServer"
        )


class NotYet(Exception):
    """An object of the wanted name is on its way out: it is being deleted, or its owner is gone."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} of an earlier object is being deleted")


@dataclass(frozen=True, slots=True)
class _Applied:
    """What was last applied, and the object's version after it; while both still hold there is nothing to do."""

    body: str
    version: str


class Applier:
    """Applies desired objects; idempotent, and silent where nothing differs."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._applied: dict[str, dict[tuple[str, str], _Applied]] = {}
        self._session_keys: set[str] = set()

    async def apply(self, owned: Owned, owner: JsonObject, seen: JsonObject | None) -> JsonObject:
        """The object as it then is.

        Args:
            owner: the VirtualMCPServer that controls it.
            seen: the object as the watch last showed it, None where it showed none.

        Raises:
            NameTaken: somebody else's object has the name.
            NotYet: an earlier owner's object has the name still.
            KubeError: the API server refused or did not answer.
        """
        namespace = owned.body["metadata"]["namespace"]
        applied = self._applied.setdefault(owner["metadata"]["uid"], {})
        key = owned.kind.plural, owned.name
        body = json.dumps(owned.body, sort_keys=True)
        last = applied.get(key)
        if seen is not None and last == _Applied(body, _version(owned.kind, seen)):
            return seen
        try:
            # The watch shows only what carries our labels: before creating, ask whether a stranger has the name.
            current = await self._kube.get(owned.kind, namespace, owned.name)
        except NotFound:
            pass
        else:
            _check(owned.kind.name, current, owner)
            if last == _Applied(body, _version(owned.kind, current)):
                return current
            owned = Owned(owned.kind, _with_uid(owned.body, current))
        after = await self._kube.apply(owned.kind, owned.body)
        applied[key] = _Applied(body, _version(owned.kind, after))
        return after

    async def create_session_key(self, owner: JsonObject, *, again: bool) -> None:
        """Create the Secret that seals session ids, unless it is there. The operator never reads Secrets.

        Args:
            again: try even where this process has done so before: the Secret may have gone with an earlier owner.

        Raises:
            KubeError: the API server refused or did not answer.
        """
        uid, name = owner["metadata"]["uid"], owner["metadata"]["name"]
        if uid in self._session_keys and not again:
            return
        body: JsonObject = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": session_secret_name(name),
                "namespace": owner["metadata"]["namespace"],
                "labels": labels(name),
                "ownerReferences": [owner_reference(owner)],
            },
            "type": "Opaque",
            # Base64 of base64: the value itself is 32 random bytes in base64.
            "data": {SESSION_KEY: base64.b64encode(base64.b64encode(secrets.token_bytes(32))).decode()},
        }
        try:
            await self._kube.create(SECRET, body)
        except Conflict as error:
            if error.reason != "AlreadyExists":
                raise
        self._session_keys.add(uid)

    async def stop(self, owner: JsonObject, deployment: JsonObject | None, reason: str) -> None:
        """Scale the gateway to 0: nothing may be served. `resume` gives the replicas back.

        Done under a field manager of its own, so that it needs nothing of the spec, which may be broken.

        Raises:
            KubeError: the API server refused or did not answer.
        """
        if deployment is None or _controller(deployment) != owner["metadata"]["uid"] or _stopped(deployment):
            return
        body = _head(deployment) | {"spec": {"replicas": 0}}
        replicas = str(deployment["spec"].get("replicas", 1))
        body["metadata"]["annotations"] = {STOPPED: reason, REPLICAS_BEFORE: replicas}
        await self._kube.apply(DEPLOYMENT, body, manager=STOPPING_MANAGER)

    async def resume(self, deployment: JsonObject | None) -> None:
        """Undo `stop`. Raises KubeError."""
        annotations = (deployment or {}).get("metadata", {}).get("annotations") or {}
        if deployment is None or STOPPED not in annotations:
            return
        body = _head(deployment)
        replicas = annotations.get(REPLICAS_BEFORE, "")
        if replicas.isdecimal():
            body["spec"] = {"replicas": int(replicas)}
        await self._kube.apply(DEPLOYMENT, body, manager=STOPPING_MANAGER)

    def forget(self, owner_uid: str) -> None:
        """Let go of what is known of an owner that is gone."""
        self._session_keys.discard(owner_uid)
        self._applied.pop(owner_uid, None)


def _head(deployment: JsonObject) -> JsonObject:
    metadata = {name: deployment["metadata"][name] for name in ("name", "namespace", "uid")}
    return {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "metadata": metadata}


def _stopped(deployment: JsonObject) -> bool:
    annotated = STOPPED in (deployment["metadata"].get("annotations") or {})
    return annotated and deployment["spec"].get("replicas") == 0


def _controller(obj: JsonObject) -> str:
    references = obj["metadata"].get("ownerReferences", [])
    return next((str(ref["uid"]) for ref in references if ref.get("controller")), "")


def _check(kind: str, current: JsonObject, owner: JsonObject) -> None:
    metadata = current["metadata"]
    controllers = [ref for ref in metadata.get("ownerReferences", []) if ref.get("controller")]
    if controllers and controllers[0]["uid"] == owner["metadata"]["uid"]:
        if metadata.get("deletionTimestamp"):
            raise NotYet(kind, metadata["name"])
        return
    ours = owner_reference(owner)
    earlier = [ref for ref in controllers if ref["kind"] == ours["kind"] and ref["name"] == ours["name"]]
    if earlier or metadata.get("deletionTimestamp"):
        raise NotYet(kind, metadata["name"])
    raise NameTaken(kind, metadata["name"])


def _version(kind: Kind, obj: JsonObject) -> str:
    """Changes with all that an apply may set; where the object has a generation, its status does not count.

    A Lease has none, and its gateway writes annotations of its own into it.
    """
    metadata = obj["metadata"]
    if "generation" not in metadata and kind != LEASE:
        return str(metadata["resourceVersion"])
    ours = ("uid", "generation", "labels", "ownerReferences")
    parts = ours if kind == LEASE else (*ours, "annotations")
    return json.dumps([metadata.get(part) for part in parts], sort_keys=True)


def _with_uid(body: JsonObject, current: JsonObject) -> JsonObject:
    """Pinned to the object that was looked at: a later one of the same name is refused."""
    return body | {"metadata": body["metadata"] | {"uid": current["metadata"]["uid"]}}
