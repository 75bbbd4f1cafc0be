"""One reconcile of one object: read it fresh, judge it, apply what it owns, set what is watched, report it."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.gatewayconfig import ConfigError, GatewayConfig, load_gateway_config
from vmcp.api.kinds import MCP_GROUP, MCP_REMOTE_PROXY, MCP_SERVER, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER
from vmcp.api.status import HandledRequest, Phase, RequestAction
from vmcp.api.unsupported import proxy_left_out
from vmcp.health.breaker import EarlyEnd
from vmcp.health.clock import Clock
from vmcp.health.hearsay import WITHHELD_S
from vmcp.health.monitor import Monitor
from vmcp.health.snapshot import Health, Snapshot
from vmcp.health.targets import targets_of
from vmcp.kube.client import JsonObject, Kube, KubeError, NamespaceEnding, NotFound
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, POD
from vmcp.reconcile.applier import Applier, NameTaken, NotYet
from vmcp.reconcile.cache import Cache, Key, group_of
from vmcp.reconcile.desired import Owned, Wanted, desired
from vmcp.reconcile.members import authority_references, entry_problem, proxy_problem
from vmcp.reconcile.migration import GROUP_FINALIZER, release
from vmcp.reconcile.names import CONFIG_KEY, config_map_name, gateway_url
from vmcp.reconcile.plan import Plan, Surroundings, plan, without_pod_template
from vmcp.reconcile.readiness import Moved, endpoints_moved
from vmcp.reconcile.requests import EVERY_BACKEND, finding, outstanding, remembered, requests_of
from vmcp.reconcile.workload import deployment_state, is_missed, look_again_s
from vmcp.reconcile.workloads.servers import Servers
from vmcp.status import membership
from vmcp.status.findings import Blocked, DeploymentState, Finding, Findings
from vmcp.status.recall import read_status, recall
from vmcp.status.writer import StatusWriter

AGAIN_SOON_S = 1.0
STRANGER_S = 10.0
"""An object of somebody else's that has one of our names is not watched: whether it is gone is asked this often."""
REFUSED_S = 30.0
"""What the API server refuses (a quota, a policy, a name that is none) is tried again this often."""
LONGEST_REFUSAL = 1000
"""Characters of the API server's words that are shown."""
AUTHORITIES_S = 60.0
"""CA bundles are ConfigMaps of the user's that no watch covers: they are read again this often."""

_CAUSES = {RequestAction.RESET: EarlyEnd.RESET, RequestAction.PROBE_NOW: EarlyEnd.PROBE_NOW}

log = logging.getLogger(__name__)


class _PodTemplateRefused(Exception):
    """The API server says what is wrong with the Deployment that a podTemplateSpec leads to."""


class Reconciler:
    """Reconciles one key at a time; called by the queue. Keeps, per UID, what the status writer composes from.

    `servers` runs MCPServers; None = another operator does, and they are only read.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        cache: Cache,
        monitor: Monitor,
        writer: StatusWriter,
        clock: Clock,
        image: str,
        servers: Servers | None = None,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._applier = Applier(kube)
        self._monitor = monitor
        self._writer = writer
        self._clock = clock
        self._image = image
        self._servers = servers
        self._uids: dict[Key, str] = {}
        self._keys: dict[str, Key] = {}
        self._findings: dict[str, Findings] = {}
        self._waiting: dict[str, dict[str, str]] = {}
        self._handled: dict[str, tuple[HandledRequest, ...]] = {}

    def findings(self, uid: str) -> Findings | None:
        """What the last reconcile found of the object; None before its first."""
        found = self._findings.get(uid)
        return replace(found, doubted=True) if found is not None and self._monitor.is_doubting else found

    def key_of(self, uid: str) -> Key | None:
        """The key of the object with that UID, known as soon as its first reconcile begins."""
        return self._keys.get(uid)

    def server_changed(self, before: JsonObject, after: JsonObject) -> None:
        """An MCPServer is seen anew: where its endpoints moved, it is checked now (design §3 rule 2)."""
        moved = endpoints_moved(before, after)
        if moved is Moved.NOT:
            return
        namespace, name = after["metadata"]["namespace"], after["metadata"]["name"]
        for owner in self._cache.in_group(VIRTUAL_MCP_SERVER, namespace, group_of(after)):
            if moved is Moved.READY:
                self._monitor.end_open_time(owner["metadata"]["uid"], name, EarlyEnd.TARGET_READY)
            else:
                self._monitor.probe_now(owner["metadata"]["uid"], name)

    def known(self) -> Sequence[Findings]:
        """What the last reconcile found of every object."""
        return list(self._findings.values())

    def snapshots(self, uid: str) -> Sequence[Snapshot]:
        """The object's backends: those that are watched, and those that have no URL yet."""
        waiting = self._waiting.get(uid, {})
        return [
            *self._monitor.snapshots(uid),
            *(Snapshot(name=name, url="", fingerprint="", detail=why) for name, why in waiting.items()),
        ]

    async def reconcile(self, key: Key) -> float | None:
        """Bring the object up to date; the seconds after which to look again, None = only when something happens.

        Raises:
            KubeError: the API server refused or did not answer; nothing is lost by trying again.
        """
        if key.plural == MCP_GROUP.plural:
            await self._group(key)
            return None
        if key.plural == MCP_SERVER_ENTRY.plural:
            await self._entry(key)
            return None
        if key.plural == MCP_REMOTE_PROXY.plural:
            await self._proxy(key)
            return None
        if key.plural == MCP_SERVER.plural:
            return await self._servers.reconcile(key) if self._servers else None
        try:
            owner = await self._kube.get(VIRTUAL_MCP_SERVER, key.namespace, key.name)
        except NotFound:
            self._forget(key)
            return None
        uid = owner["metadata"]["uid"]
        if self._uids.get(key, uid) != uid or owner["metadata"].get("deletionTimestamp"):
            self._forget(key)
        if owner["metadata"].get("deletionTimestamp"):
            return None
        self._uids[key], self._keys[uid] = uid, key
        try:
            return await self._virtual_mcp_server(owner)
        except NamespaceEnding:
            # It goes with its namespace, in a moment, and its watch tells.
            return None

    async def _virtual_mcp_server(self, owner: JsonObject) -> float | None:
        around = await self._surroundings(owner)
        judged = plan(owner, around, image=self._image)
        again = AUTHORITIES_S if authority_references(around.entries) else None
        if judged.closed:
            deployment = self._cache.get(DEPLOYMENT, owner["metadata"]["namespace"], owner["metadata"]["name"])
            await self._applier.stop(owner, deployment, judged.closed)
        if judged.wanted is None:
            await self._watch_last_good(owner)
            self._report(owner, judged, judged.blocked, DeploymentState.UNAVAILABLE, "")
            return again
        try:
            deployment = await self._apply(judged.wanted)
        except NameTaken as error:
            blocked = Blocked(Phase.FAILED, error.reason, str(error))
            self._report(owner, judged, blocked, DeploymentState.UNAVAILABLE, "")
            return STRANGER_S
        except NotYet as error:
            blocked = Blocked(Phase.PENDING, Reason.DEPLOYMENT_NOT_READY, str(error))
            self._report(owner, judged, blocked, DeploymentState.UNAVAILABLE, "")
            return AGAIN_SOON_S
        except _PodTemplateRefused as error:
            await self._watch_last_good(owner)
            refused = without_pod_template(judged, f"spec.podTemplateSpec: {error}")
            self._report(owner, refused, refused.blocked, DeploymentState.UNAVAILABLE, "")
            return REFUSED_S
        except KubeError as error:
            if not error.is_refusal:
                raise
            await self._watch_last_good(owner)
            blocked = Blocked(Phase.FAILED, Reason.RECONCILE_FAILED, str(error)[:LONGEST_REFUSAL])
            self._report(owner, judged, blocked, DeploymentState.UNAVAILABLE, "")
            return REFUSED_S
        pems = {bundle.path: bundle.pem for bundle in judged.discovery.ca_bundles}
        self._watch(owner, judged.wanted.config, pems, judged.discovery.waiting)
        state, message = deployment_state(deployment, self._pods(owner))
        self._report(owner, self._with_contests(owner, judged), None, state, message)
        usual_s = again if state is DeploymentState.AVAILABLE else look_again_s(deployment, self._clock.wall())
        due = [seconds for seconds in (usual_s, self._applier.again_s(owner["metadata"]["uid"])) if seconds is not None]
        return min(due, default=None)

    def _with_contests(self, owner: JsonObject, judged: Plan) -> Plan:
        contests = self._applier.contests(owner["metadata"]["uid"])
        if not contests:
            return judged
        told = Finding(ConditionType.OBJECTS_UNCONTESTED, False, Reason.FIELDS_CONTESTED, "; ".join(contests))
        return replace(judged, conditions=(*judged.conditions, told))

    async def _surroundings(self, owner: JsonObject) -> Surroundings:
        namespace, group = owner["metadata"]["namespace"], group_of(owner)
        entries = self._cache.in_group(MCP_SERVER_ENTRY, namespace, group)
        authorities = {}
        for name, key in sorted(authority_references(entries)):
            try:
                config_map = await self._kube.get(CONFIG_MAP, namespace, name)
            except NotFound:
                continue
            if pem := (config_map.get("data") or {}).get(key):
                authorities[name, key] = pem
        return Surroundings(
            self._cache.get(MCP_GROUP, namespace, group),
            self._cache.in_group(MCP_SERVER, namespace, group),
            entries,
            authorities,
            self._cache.in_group(MCP_REMOTE_PROXY, namespace, group),
        )

    async def _apply(self, wanted: Wanted) -> JsonObject:
        owner, namespace = wanted.owner, wanted.owner["metadata"]["namespace"]
        seen = self._cache.get(DEPLOYMENT, namespace, wanted.name)
        objects = desired(wanted)
        gateway = next(owned for owned in objects if owned.kind == DEPLOYMENT)
        await self._applier.check(gateway, owner, seen)
        if wanted.spec.pod_template_spec:
            await self._rehearse(gateway, owner)
        missed = seen is None or is_missed(seen, self._clock.wall())
        await self._applier.create_session_key(owner, again=missed)
        after: JsonObject = {}
        for owned in objects:
            if owned.kind == DEPLOYMENT:
                # Not earlier: a gateway that was stopped must not start by the configuration that it had then.
                await self._applier.resume(seen)
            after = await self._applier.apply(owned, owner, self._cache.get(owned.kind, namespace, owned.name))
        return after

    async def _rehearse(self, gateway: Owned, owner: JsonObject) -> None:
        try:
            await self._applier.rehearse(gateway, owner)
        except KubeError as error:
            if error.is_invalid:
                raise _PodTemplateRefused(str(error)[:LONGEST_REFUSAL]) from error
            raise

    async def _watch_last_good(self, owner: JsonObject) -> None:
        """After a restart a spec that is blocked has no targets: go on with those that its gateway runs by."""
        if self._monitor.snapshots(owner["metadata"]["uid"]):
            return
        namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
        stored = self._cache.get(CONFIG_MAP, namespace, config_map_name(name))
        try:
            config = load_gateway_config((stored or {}).get("data", {})[CONFIG_KEY])
        except (KeyError, ConfigError):
            return
        self._watch(owner, config, {}, {})

    def _watch(self, owner: JsonObject, config: GatewayConfig, pems: dict[str, str], waiting: dict[str, str]) -> None:
        uid = owner["metadata"]["uid"]
        self._waiting[uid] = waiting
        targets = [replace(target, owner=uid) for target in targets_of(config, pems)]
        recalled, first = recall(owner.get("status") or {}), not self._monitor.snapshots(uid)
        self._monitor.set_targets(uid, targets, recalled)
        if first:
            self._recall_withheld(uid, recalled.values())

    def _recall_withheld(self, uid: str, recalled: Iterable[Snapshot]) -> None:
        """After a restart, what a gateway withheld stays so until it had time to say so again."""
        until = self._clock.monotonic() + WITHHELD_S
        for snapshot in recalled:
            if snapshot.health is Health.UNAUTHENTICATED:
                self._monitor.reported_withheld(uid, snapshot.name, until, fingerprint=snapshot.fingerprint)

    def _pods(self, owner: JsonObject) -> list[JsonObject]:
        namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
        return self._cache.of_instance(POD, namespace, name)

    def _report(
        self, owner: JsonObject, judged: Plan, blocked: Blocked | None, state: DeploymentState, message: str
    ) -> None:
        metadata = owner["metadata"]
        uid = metadata["uid"]
        requests = self._handle_requests(owner)
        self._findings[uid] = Findings(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=uid,
            generation=metadata["generation"],
            url=_url(owner, judged, blocked),
            conditions=(*judged.conditions, requests) if requests else judged.conditions,
            blocked=blocked,
            deployment=state,
            deployment_message=message,
            heartbeat_s=judged.heartbeat_s,
            handled_requests=self._handled[uid],
        )
        self._writer.seen(uid, owner)
        self._writer.report(uid)

    def _handle_requests(self, owner: JsonObject) -> Finding | None:
        """Do, once, what annotations ask for and the status does not name as done yet."""
        metadata = owner["metadata"]
        uid = metadata["uid"]
        asked, malformed = requests_of(metadata.get("annotations") or {})
        if uid not in self._handled:
            stored = read_status(owner.get("status"))
            self._handled[uid] = tuple(stored.handled_requests or ()) if stored else ()
        names = {snapshot.name for snapshot in self._monitor.snapshots(uid)}
        moment = datetime.fromtimestamp(int(self._clock.wall()), UTC)
        done, waiting = [], []
        for request in outstanding(asked, self._handled[uid]):
            meant = names if request.backend == EVERY_BACKEND else names & {request.backend}
            if not meant:
                waiting.append(request)
                continue
            for name in sorted(meant):
                self._monitor.end_open_time(uid, name, _CAUSES[request.action])
            log.info(
                "%s/%s: %s of backend %s", metadata["namespace"], metadata["name"], request.action, request.backend
            )
            done.append(
                HandledRequest(action=request.action, backend=request.backend, token=request.token, time=moment)
            )
        self._handled[uid] = remembered(asked, [*self._handled[uid], *done])
        return finding(asked, malformed, waiting)

    def _forget(self, key: Key) -> None:
        uid = self._uids.pop(key, None)
        if uid is None:
            return
        self._findings.pop(uid, None)
        self._keys.pop(uid, None)
        self._waiting.pop(uid, None)
        self._handled.pop(uid, None)
        self._writer.forget(uid)
        self._monitor.forget(uid)
        self._applier.forget(uid)

    async def _group(self, key: Key) -> None:
        group = self._cache.get(MCP_GROUP, key.namespace, key.name)
        if group is None:
            return
        if group["metadata"].get("deletionTimestamp"):
            await release(self._kube, MCP_GROUP, group, GROUP_FINALIZER)
            return
        servers = [obj["metadata"]["name"] for obj in self._cache.in_group(MCP_SERVER, key.namespace, key.name)]
        entries = [obj["metadata"]["name"] for obj in self._cache.in_group(MCP_SERVER_ENTRY, key.namespace, key.name)]
        proxies = [obj["metadata"]["name"] for obj in self._cache.in_group(MCP_REMOTE_PROXY, key.namespace, key.name)]
        try:
            fresh = await self._kube.get(MCP_GROUP, key.namespace, key.name)
            status = membership.group_status(fresh, servers, entries, proxies, self._clock.wall())
            await membership.write(self._kube, MCP_GROUP, fresh, status)
        except NotFound:
            return

    async def _entry(self, key: Key) -> None:
        try:
            entry = await self._kube.get(MCP_SERVER_ENTRY, key.namespace, key.name)
            problem = entry_problem(entry) or self._group_problem(entry)
            status = membership.entry_status(entry, problem, self._clock.wall())
            await membership.write(self._kube, MCP_SERVER_ENTRY, entry, status)
        except NotFound:
            return

    async def _proxy(self, key: Key) -> None:
        try:
            proxy = await self._kube.get(MCP_REMOTE_PROXY, key.namespace, key.name)
            problem = proxy_problem(proxy) or self._group_problem(proxy)
            spec = proxy.get("spec")
            left_out = proxy_left_out(spec) if isinstance(spec, dict) else []
            status = membership.proxy_status(proxy, problem, left_out, self._clock.wall())
            await membership.write(self._kube, MCP_REMOTE_PROXY, proxy, status)
        except NotFound:
            return

    def _group_problem(self, member: JsonObject) -> str:
        group = group_of(member)
        if group and self._cache.get(MCP_GROUP, member["metadata"]["namespace"], group) is None:
            return f"spec.groupRef.name: MCPGroup {group} does not exist in this namespace"
        return ""


def _url(owner: JsonObject, judged: Plan, blocked: Blocked | None) -> str:
    """Where the gateway is: while something is blocked, where it was before, unless it was stopped."""
    if blocked is None:
        return gateway_url(owner["metadata"]["namespace"], owner["metadata"]["name"])
    return "" if judged.closed else str((owner.get("status") or {}).get("url") or "")
