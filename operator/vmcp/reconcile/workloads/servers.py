"""One reconcile of one MCPServer: read it fresh, judge it, apply what it owns, remove what it no longer owns, tell."""

import logging
from dataclasses import replace

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.kinds import MCP_SERVER
from vmcp.api.mcpserver import ServerPhase
from vmcp.health.clock import Clock
from vmcp.kube.client import JsonObject, Kube, KubeError, NamespaceEnding, NotFound
from vmcp.kube.kinds import DEPLOYMENT, EVENT, POD, STATEFUL_SET
from vmcp.reconcile.applier import Applier, ForeignController, NameTaken, NotYet, controller_uid
from vmcp.reconcile.cache import Cache, Key
from vmcp.reconcile.desired import Owned
from vmcp.reconcile.migration import SERVER_FINALIZER, release
from vmcp.reconcile.workloads import names
from vmcp.reconcile.workloads.desired import possible
from vmcp.reconcile.workloads.judged import Judged, invalid_pod_template, judged
from vmcp.reconcile.workloads.observed import Observed, lacks_pods, observed
from vmcp.status import servers
from vmcp.status.findings import Finding
from vmcp.status.servers import ServerFindings

AGAIN_SOON_S = 1.0
AGAIN_UNTIL_PODS_S = 5.0
"""No watch tells that pods are refused."""
STRANGER_S = 10.0
REFUSED_S = 30.0
LONGEST_REFUSAL = 1000
"""Characters of the API server's words that are shown."""

log = logging.getLogger(__name__)


class Servers:
    """Runs MCPServers; called by the queue, one key at a time."""

    def __init__(self, *, kube: Kube, cache: Cache, clock: Clock, proxy_image: str) -> None:
        self._kube = kube
        self._cache = cache
        self._applier = Applier(kube)
        self._clock = clock
        self._proxy_image = proxy_image
        self._uids: dict[Key, str] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Bring the MCPServer up to date; the seconds after which to look again, None = only when something happens.

        Raises:
            KubeError: the API server refused or did not answer; nothing is lost by trying again.
        """
        try:
            server = await self._kube.get(MCP_SERVER, key.namespace, key.name)
        except NotFound:
            self._applier.forget(self._uids.pop(key, ""))
            return None
        uid = server["metadata"]["uid"]
        if self._uids.get(key, uid) != uid:
            self._applier.forget(self._uids[key])
        self._uids[key] = uid
        try:
            return await self._server(server)
        except NotFound:
            # It went meanwhile; what it owned goes with it.
            return AGAIN_SOON_S
        except NamespaceEnding:
            return None

    async def _server(self, server: JsonObject) -> float | None:
        if server["metadata"].get("deletionTimestamp"):
            await self._leave(server)
            return None
        if foreign := self._foreign(server):
            await self._yield(server, foreign)
            return None
        found = judged(server, proxy_image=self._proxy_image)
        if found.closed:
            await self._remove(server, found)
        if found.blocked:
            await self._blocked(server, found, Reason.VALIDATION_FAILED, found.blocked)
            return None
        try:
            made = {owned.kind: await self._apply(owned, server) for owned in found.objects}
        except ForeignController as error:
            await self._yield(server, str(error))
            return STRANGER_S
        except NameTaken as error:
            await self._blocked(server, found, Reason.NAME_CONFLICT, str(error))
            return STRANGER_S
        except NotYet as error:
            await self._tell(server, found, Observed(ServerPhase.PENDING, Reason.PODS_NOT_READY, str(error)))
            return AGAIN_SOON_S
        except KubeError as error:
            if not error.is_refusal:
                raise
            await self._refused(server, found, error)
            return REFUSED_S
        await self._remove(server, found)
        return await self._look(server, found, made[STATEFUL_SET], made.get(DEPLOYMENT))

    def _foreign(self, server: JsonObject) -> str:
        """Why the MCPServer is not ours to run, empty where it is. No Deployment of its own name is ever made here."""
        namespace, name = server["metadata"]["namespace"], server["metadata"]["name"]
        deployment = self._cache.get(DEPLOYMENT, namespace, name)
        if deployment is None or controller_uid(deployment) != server["metadata"]["uid"]:
            return ""
        return (
            f"Deployment {name}, made by another operator, runs this MCPServer; stop that operator and delete the "
            "Deployment, or start this one with --manage-mcpservers=false"
        )

    async def _yield(self, server: JsonObject, why: str) -> None:
        """Leave the MCPServer to whoever else runs it."""
        await servers.write(self._kube, server, servers.foreign_status(server, why, self._clock.wall()))

    async def _refused(self, server: JsonObject, found: Judged, error: KubeError) -> None:
        """The API server will not have what the spec leads to, most likely for its podTemplateSpec where it has one."""
        if error.is_invalid and found.spec and found.spec.pod_template_spec:
            message = f"spec.podTemplateSpec: {error}"[:LONGEST_REFUSAL]
            found = replace(found, conditions=(*found.conditions, *invalid_pod_template(message)))
            await self._blocked(server, found, Reason.VALIDATION_FAILED, message)
            return
        await self._blocked(server, found, Reason.RECONCILE_FAILED, str(error)[:LONGEST_REFUSAL])

    async def _apply(self, owned: Owned, server: JsonObject) -> JsonObject:
        seen = self._cache.get(owned.kind, server["metadata"]["namespace"], owned.name)
        return await self._applier.apply(owned, server, seen)

    async def _remove(self, server: JsonObject, found: Judged) -> None:
        """Delete what an earlier spec made and this one does not; all there is where nothing may run."""
        namespace, name = server["metadata"]["namespace"], server["metadata"]["name"]
        kept = {(owned.kind, owned.name) for owned in found.objects}
        for kind, each in possible(name):
            if (kind, each) not in kept and await self._applier.remove(
                kind, server, self._cache.get(kind, namespace, each)
            ):
                log.info("%s/%s: %s %s is not wanted any more", namespace, name, kind.name, each)

    async def _look(
        self, server: JsonObject, found: Judged, stateful_set: JsonObject, proxy: JsonObject | None
    ) -> float | None:
        namespace, name = server["metadata"]["namespace"], server["metadata"]["name"]
        pods = self._cache.of_instance(POD, namespace, name, names.SERVER)
        proxy_pods = self._cache.of_instance(POD, namespace, name, names.PROXY)
        podless = lacks_pods(stateful_set, pods)
        refusal = await self._refusal(stateful_set) if podless else ""
        uid = server["metadata"]["uid"]
        if contests := self._applier.contests(uid):
            told = Finding(ConditionType.OBJECTS_UNCONTESTED, False, Reason.FIELDS_CONTESTED, "; ".join(contests))
            found = replace(found, conditions=(*found.conditions, told))
        await self._tell(server, found, observed(stateful_set, pods, proxy, proxy_pods, refusal))
        return AGAIN_UNTIL_PODS_S if podless else self._applier.again_s(uid)

    async def _refusal(self, stateful_set: JsonObject) -> str:
        """What the API server said when it refused a pod: its StatefulSet shows that in Events only."""
        metadata = stateful_set["metadata"]
        events = await self._kube.list(
            EVENT,
            metadata["namespace"],
            field_selector=f"involvedObject.uid={metadata['uid']},reason={Reason.FAILED_CREATE}",
        )
        told = max(events, key=_told_at, default={})
        return str(told.get("message") or "")[:LONGEST_REFUSAL]

    async def _blocked(self, server: JsonObject, found: Judged, reason: str, message: str) -> None:
        """Report a failure of the spec. What runs goes on unless nothing may, and is reached where it was."""
        stored = server.get("status") or {}
        told = Observed(ServerPhase.FAILED, reason, message, 0 if found.closed else stored.get("readyReplicas", 0))
        await self._tell(server, found, told, url="" if found.closed else str(stored.get("url") or ""))

    async def _tell(self, server: JsonObject, found: Judged, told: Observed, url: str | None = None) -> None:
        namespace, name = server["metadata"]["namespace"], server["metadata"]["name"]
        if url is None:
            url = names.server_url(namespace, name, found.spec) if found.spec else ""
        status = ServerFindings(told.phase, told.reason, told.message, url, told.ready_replicas, found.conditions)
        await servers.write(self._kube, server, servers.server_status(server, status, self._clock.wall()))

    async def _leave(self, server: JsonObject) -> None:
        """Hold nothing up: what is owned is garbage-collected. A finalizer of ToolHive's would never be removed."""
        if set(server["metadata"].get("finalizers", ())) - {SERVER_FINALIZER}:
            stored = server.get("status") or {}
            told = ServerFindings(
                ServerPhase.TERMINATING,
                Reason.TERMINATING,
                "it is being deleted",
                str(stored.get("url") or ""),
                stored.get("readyReplicas", 0),
            )
            await servers.write(self._kube, server, servers.server_status(server, told, self._clock.wall()))
            server = await self._kube.get(MCP_SERVER, server["metadata"]["namespace"], server["metadata"]["name"])
        await release(self._kube, MCP_SERVER, server, SERVER_FINALIZER)


def _told_at(event: JsonObject) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))
