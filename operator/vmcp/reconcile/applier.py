"""The one place that writes owned objects: server-side apply of what is ours, and of nothing else."""

import base64
import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from vmcp.api.conditions import Reason
from vmcp.api.kinds import Kind
from vmcp.kube.client import Conflict, JsonObject, Kube, NotFound
from vmcp.kube.kinds import DEPLOYMENT, LEASE, SECRET
from vmcp.reconcile.contest import TOLD_FROM, Contest, told
from vmcp.reconcile.desired import Owned
from vmcp.reconcile.fieldmanagers import STOPPING_MANAGER, foreign_operator, last_writer
from vmcp.reconcile.names import SESSION_KEY, labels, owner_reference, session_secret_name

STOPPED = "toolhive.stacklok.dev/stopped"
"""Annotation on a Deployment that was scaled to 0 because nothing may be served; its value says why."""
REPLICAS_BEFORE = "toolhive.stacklok.dev/replicas-before-stop"
"""Annotation beside it: the number that `resume` gives back. Whoever scaled it lost the field to the stop."""

ROLLOUT_NUMBER = "deployment.kubernetes.io/revision"
"""Kubernetes writes it into a Deployment after each rollout: taken for somebody's change, it cost an apply of each."""


class NameTaken(Exception):
    """An object of the wanted name exists that the owner does not control; it was not touched.

    Attributes:
        reason: for the condition Ready.
    """

    reason = Reason.NAME_CONFLICT

    def __init__(self, kind: str, name: str, owner_kind: str) -> None:
        super().__init__(
            f"{kind} {name} exists and belongs to somebody else; delete or rename it, or rename the {owner_kind}"
        )


class ForeignController(NameTaken):
    """A workload of the wanted name is run by another operator, for the same owner; it was not touched."""

    reason = Reason.FOREIGN_CONTROLLER

    def __init__(self, kind: str, name: str, manager: str) -> None:
        Exception.__init__(
            self,
            f"{kind} {name} is run by another operator (field manager {manager}); "
            f"stop that operator, then delete the {kind}: it is made anew at once",
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

    def __init__(self, kube: Kube, *, now: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._now = now
        self._applied: dict[str, dict[tuple[str, str], _Applied]] = {}
        self._contests: dict[str, dict[tuple[str, str], Contest]] = {}
        self._rehearsed: dict[str, str] = {}
        self._session_keys: set[str] = set()

    async def check(self, owned: Owned, owner: JsonObject, seen: JsonObject | None) -> None:
        """Look whether an object that is there may be written: before anything else of the same owner is.

        Raises:
            NameTaken, NotYet, KubeError: as `apply`.
        """
        last = self._applied.get(owner["metadata"]["uid"], {}).get((owned.kind.plural, owned.name))
        if seen is None or (last is not None and last.version == _version(owned.kind, seen)):
            return
        try:
            # What the watch showed is kept without managedFields.
            current = await self._kube.get(owned.kind, owned.body["metadata"]["namespace"], owned.name)
        except NotFound:
            return
        _check(owned.kind.name, current, owner)

    async def rehearse(self, owned: Owned, owner: JsonObject) -> None:
        """Have the API server judge the object without storing it; once for each form of it.

        Raises:
            KubeError: it was refused, or there was no answer.
        """
        uid, body = owner["metadata"]["uid"], json.dumps(owned.body, sort_keys=True)
        if self._rehearsed.get(uid) != body:
            await self._kube.apply(owned.kind, owned.body, dry_run=True)
            self._rehearsed[uid] = body

    def contests(self, owner_uid: str) -> list[str]:
        """A sentence for each object of the owner's that another manager keeps changing."""
        now_s = self._now()
        return [
            told(kind, name, contest)
            for (kind, name), contest in sorted(self._contests.get(owner_uid, {}).items())
            if contest.restorations >= TOLD_FROM and not contest.is_over(now_s)
        ]

    def again_s(self, owner_uid: str) -> float | None:
        """Seconds until what waits to be put right may be; None where nothing waits."""
        now_s = self._now()
        waits = [c.wait_s(now_s) for c in self._contests.get(owner_uid, {}).values() if c.pending]
        return min(waits, default=None)

    async def apply(self, owned: Owned, owner: JsonObject, seen: JsonObject | None) -> JsonObject:
        """The object as it then is.

        Args:
            owner: the object that controls it, as stored.
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
            if last is not None and last.body == body:
                return await self._put_right(owned, owner, current)
            owned = Owned(owned.kind, _with_uid(owned.body, current))
        after = await self._kube.apply(owned.kind, owned.body)
        applied[key] = _Applied(body, _version(owned.kind, after))
        return after

    async def _put_right(self, owned: Owned, owner: JsonObject, current: JsonObject) -> JsonObject:
        """Apply what was applied before to an object that somebody changed since, unless it was changed too often."""
        uid, key = owner["metadata"]["uid"], (owned.kind.name, owned.name)
        contests = self._contests.setdefault(uid, {})
        contest = contests.get(key, Contest())
        if contest.wait_s(self._now()) > 0:
            contests[key] = replace(contest, pending=True)
            return current
        after = await self._kube.apply(owned.kind, _with_uid(owned.body, current))
        version = _version(owned.kind, after)
        if version != _version(owned.kind, current):
            contests[key] = contest.restored(last_writer(current), self._now())
        else:
            # What was changed is none of ours.
            contests[key] = replace(contest, pending=False)
        body = json.dumps(owned.body, sort_keys=True)
        self._applied[uid][owned.kind.plural, owned.name] = _Applied(body, version)
        return after

    async def remove(self, kind: Kind, owner: JsonObject, seen: JsonObject | None) -> bool:
        """Delete an object that its owner does not want any more; whether it was there, and the owner's.

        Raises:
            KubeError: the API server refused or did not answer.
        """
        if (
            seen is None
            or controller_uid(seen) != owner["metadata"]["uid"]
            or seen["metadata"].get("deletionTimestamp")
        ):
            return False
        metadata = seen["metadata"]
        with suppress(NotFound, Conflict):
            await self._kube.delete(kind, metadata["namespace"], metadata["name"], uid=metadata["uid"])
        return True

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
        if deployment is None or controller_uid(deployment) != owner["metadata"]["uid"] or _stopped(deployment):
            return
        # What the watch showed is kept without managedFields: it may be another operator's, and serve by that.
        with suppress(NotFound):
            deployment = await self._kube.get(DEPLOYMENT, owner["metadata"]["namespace"], owner["metadata"]["name"])
        if foreign_operator(deployment):
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
        self._contests.pop(owner_uid, None)
        self._rehearsed.pop(owner_uid, None)
        self._applied.pop(owner_uid, None)


def _head(deployment: JsonObject) -> JsonObject:
    metadata = {name: deployment["metadata"][name] for name in ("name", "namespace", "uid")}
    return {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "metadata": metadata}


def _stopped(deployment: JsonObject) -> bool:
    annotated = STOPPED in (deployment["metadata"].get("annotations") or {})
    return annotated and deployment["spec"].get("replicas") == 0


def controller_uid(obj: JsonObject) -> str:
    """UID of the object's controller, empty where it has none."""
    references = obj["metadata"].get("ownerReferences", [])
    return next((str(ref["uid"]) for ref in references if ref.get("controller")), "")


def _check(kind: str, current: JsonObject, owner: JsonObject) -> None:
    metadata = current["metadata"]
    controllers = [ref for ref in metadata.get("ownerReferences", []) if ref.get("controller")]
    if controllers and controllers[0]["uid"] == owner["metadata"]["uid"]:
        if metadata.get("deletionTimestamp"):
            raise NotYet(kind, metadata["name"])
        if foreign := foreign_operator(current):
            raise ForeignController(kind, metadata["name"], foreign)
        return
    ours = owner_reference(owner)
    earlier = [ref for ref in controllers if ref["kind"] == ours["kind"] and ref["name"] == ours["name"]]
    if earlier or metadata.get("deletionTimestamp"):
        raise NotYet(kind, metadata["name"])
    raise NameTaken(kind, metadata["name"], owner["kind"])


def _version(kind: Kind, obj: JsonObject) -> str:
    """Changes with all that an apply may set; where the object has a generation, its status does not count.

    A Lease has none, and its gateway writes annotations of its own into it.
    """
    metadata = obj["metadata"]
    if "generation" not in metadata and kind != LEASE:
        return str(metadata["resourceVersion"])
    ours = ("uid", "generation", "labels", "ownerReferences")
    annotations = {} if kind == LEASE else metadata.get("annotations") or {}
    told = {name: value for name, value in annotations.items() if name != ROLLOUT_NUMBER}
    return json.dumps([*(metadata.get(part) for part in ours), told], sort_keys=True)


def _with_uid(body: JsonObject, current: JsonObject) -> JsonObject:
    """Pinned to the object that was looked at: a later one of the same name is refused."""
    return body | {"metadata": body["metadata"] | {"uid": current["metadata"]["uid"]}}
