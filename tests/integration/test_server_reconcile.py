"""One reconcile after another of an MCPServer on a real API server: what is applied, removed, reported, left alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.api import samples

from vmcp.api.kinds import MCP_GROUP, MCP_SERVER, Kind
from vmcp.handlers.resync import Resync
from vmcp.health.clock import SystemClock
from vmcp.kube.client import JsonObject, Kube, NotFound, connect
from vmcp.kube.kinds import DEPLOYMENT, POD, ROLE, SERVICE, STATEFUL_SET
from vmcp.reconcile.cache import Cache, Key
from vmcp.reconcile.migration import GROUP_FINALIZER, SERVER_FINALIZER, release
from vmcp.reconcile.workloads.desired import possible
from vmcp.reconcile.workloads.servers import Servers
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl

PATIENCE_S = 60.0
HTTP = [(SERVICE, "mcp-search-proxy"), (STATEFUL_SET, "search")]


class Stage:
    """The MCPServer `search`, and an operator but for its loops: it looks at the cluster when told to."""

    def __init__(self, kube: Kube, kubectl: Kubectl, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self._kubectl = kubectl
        self._cache = Cache()
        self._resync = Resync(
            kube=kube, cache=self._cache, add=lambda key: None, namespaces=[namespace], with_servers=True
        )
        self._servers = Servers(kube=kube, cache=self._cache, clock=SystemClock(), proxy_image="example.com/vmcp:1")

    async def create(self, name: str = "search", **spec: Any) -> None:
        whole = {"transport": "streamable-http", **spec}
        body = samples.server(**whole) | {"metadata": {"namespace": self.namespace, "name": name}}
        await self.kube.create(MCP_SERVER, body)

    async def change(self, **spec: Any) -> None:
        await self.kube.patch(MCP_SERVER, self.namespace, "search", {"spec": spec})

    async def reconcile(self, name: str = "search") -> float | None:
        await self._resync.fill()
        return await self._servers.reconcile(Key(MCP_SERVER.plural, self.namespace, name))

    async def kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._kubectl, "-n", self.namespace, *arguments)

    async def get(self, kind: Kind, name: str = "search") -> JsonObject:
        return await self.kube.get(kind, self.namespace, name)

    async def status(self, name: str = "search") -> JsonObject:
        found: JsonObject = (await self.get(MCP_SERVER, name)).get("status") or {}
        return found

    async def condition(self, type_: str, name: str = "search") -> tuple[str, str, str]:
        conditions = (await self.status(name))["conditions"]
        return next((c["status"], c["reason"], c["message"]) for c in conditions if c["type"] == type_)

    async def owned(self) -> list[tuple[Kind, str]]:
        """What there is of all that the MCPServer may own."""
        return [each for each in possible("search") if await self._exists(*each)]

    async def _exists(self, kind: Kind, name: str) -> bool:
        try:
            found = await self.get(kind, name)
        except NotFound:
            return False
        return not found["metadata"].get("deletionTimestamp")

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await look():
                    return
                await asyncio.sleep(0.1)


@pytest.fixture
async def stage(control_plane: ControlPlane, kubectl: Kubectl, crds: None, namespace: str) -> AsyncIterator[Stage]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield Stage(kube, kubectl, namespace)


async def test_the_same_input_writes_nothing(stage: Stage) -> None:
    await stage.create(transport="stdio")
    await stage.reconcile()
    await stage.until(lambda: _told_of(stage))
    await stage.until(lambda: _settled(stage))
    before = await _versions(stage)
    assert len(before) == 7
    for _ in range(3):
        await stage.reconcile()
    assert await _versions(stage) == before
    assert (await stage.get(DEPLOYMENT, "search-proxy"))["metadata"]["generation"] == 1


async def _versions(stage: Stage) -> list[str]:
    kinds = [(MCP_SERVER, "search"), *await stage.owned()]
    return [(await stage.get(kind, name))["metadata"]["resourceVersion"] for kind, name in kinds]


async def _settled(stage: Stage) -> bool:
    """Whether nobody has written for some time, and there is nothing left to tell."""
    before = await _versions(stage)
    await asyncio.sleep(2)
    await stage.reconcile()
    return await _versions(stage) == before


async def _told_of(stage: Stage) -> bool:
    """Whether the controllers have had their say, and so has the status."""
    await stage.reconcile()
    pods = (await stage.get(STATEFUL_SET)).get("status", {}).get("currentReplicas", 0)
    proxies = (await stage.get(DEPLOYMENT, "search-proxy")).get("status", {}).get("unavailableReplicas", 0)
    return bool(pods and proxies)


async def test_pods_of_every_transport_are_admitted_under_the_restricted_standard(stage: Stage) -> None:
    await stage.kubectl("label", "namespace", stage.namespace, "pod-security.kubernetes.io/enforce=restricted")
    for transport in ("stdio", "streamable-http", "sse"):
        await stage.create(transport, transport=transport)
        await stage.reconcile(transport)

    async def all_there() -> bool:
        pods = await stage.kube.list(POD, stage.namespace)
        names = {pod["metadata"]["name"].rpartition("-")[0] for pod in pods}
        return {"stdio", "streamable-http", "sse"} <= names and any("stdio-proxy" in name for name in names)

    await stage.until(all_there)


async def test_a_folder_of_the_node_is_refused_by_the_restricted_standard_and_that_is_said(stage: Stage) -> None:
    await stage.kubectl("label", "namespace", stage.namespace, "pod-security.kubernetes.io/enforce=restricted")
    await stage.create(volumes=[{"name": "data", "hostPath": "/srv", "mountPath": "/data"}])

    async def refused() -> bool:
        assert await stage.reconcile() is not None
        return (await stage.condition("Ready"))[1] == "FailedCreate"

    await stage.until(refused)
    assert "hostPath" in (await stage.condition("Ready"))[2]
    assert (await stage.status())["phase"] == "Failed"

    await stage.change(volumes=None)

    async def admitted() -> bool:
        await stage.reconcile()
        return (await stage.condition("Ready"))[1] != "FailedCreate"

    await stage.until(admitted)


async def test_what_another_transport_needed_is_removed(stage: Stage) -> None:
    await stage.create(transport="stdio")
    await stage.reconcile()
    assert await stage.owned() == possible("search")
    await stage.change(transport="sse")
    await stage.reconcile()
    await stage.until(lambda: _owns(stage, HTTP))
    assert (await stage.status())["url"].endswith(":8080/sse")
    assert (await stage.get(SERVICE, "mcp-search-proxy"))["spec"]["selector"]["app.kubernetes.io/name"] == "mcpserver"


async def _owns(stage: Stage, objects: list[tuple[Kind, str]]) -> bool:
    return await stage.owned() == objects


async def test_what_protects_and_is_not_built_ends_what_runs(stage: Stage) -> None:
    await stage.create()
    await stage.reconcile()
    assert await stage.owned() == HTTP
    await stage.change(oidcConfigRef={"name": "corp", "audience": "search"})
    await stage.reconcile()
    await stage.until(lambda: _owns(stage, []))
    status, reason, message = await stage.condition("Valid")
    assert (status, reason) == ("False", "ValidationFailed")
    assert "spec.oidcConfigRef" in message
    assert "url" not in await stage.status()
    await stage.change(oidcConfigRef=None)
    await stage.reconcile()
    assert await stage.owned() == HTTP
    assert (await stage.condition("Valid"))[0] == "True"


async def test_a_pod_template_that_cannot_be_is_told_and_what_runs_goes_on(stage: Stage) -> None:
    await stage.create()
    await stage.reconcile()
    for wrong in ({"spec": {"containers": "mcp"}}, {"spec": {"noSuchField": 1}}):
        await stage.change(podTemplateSpec=wrong)
        await stage.reconcile()
        assert (await stage.condition("PodTemplateSpecValid"))[:2] == ("False", "InvalidPodTemplateSpec"), wrong
        assert (await stage.status())["phase"] == "Failed"
        assert (await stage.status())["url"]
        await stage.change(podTemplateSpec=None)
    assert await stage.owned() == HTTP
    await stage.change(podTemplateSpec={"spec": {"containers": [{"name": "mcp", "tty": True}]}})
    await stage.reconcile()
    assert (await stage.condition("PodTemplateSpecValid"))[0] == "True"
    assert (await stage.get(STATEFUL_SET))["spec"]["template"]["spec"]["containers"][0]["tty"] is True


async def test_what_the_api_server_will_not_have_is_told_in_its_words(stage: Stage) -> None:
    await stage.create(args=["x"], resources={"limits": {"cpu": "much"}})
    assert await stage.reconcile() is not None
    status, reason, message = await stage.condition("Ready")
    assert (status, reason) == ("False", "ReconcileFailed")
    assert "statefulsets/search" in message
    assert await stage.owned() == []


async def test_a_broken_rollout_of_several_pods_recovers_once_the_image_is_fixed(stage: Stage) -> None:
    """No right to delete pods is needed: in parallel management the controller replaces what is broken itself."""
    await stage.create(backendReplicas=3)
    await stage.reconcile()
    await stage.until(lambda: _all_run(stage, "example.com/server:1"))
    await stage.change(image="example.com/server:broken")
    await stage.reconcile()
    await stage.until(lambda: _has_pod_of(stage, "example.com/server:broken"))
    await stage.change(image="example.com/server:2")
    await stage.reconcile()
    await stage.until(lambda: _all_run(stage, "example.com/server:2"))


async def _has_pod_of(stage: Stage, image: str) -> bool:
    pods = await stage.kube.list(POD, stage.namespace)
    return any(pod["spec"]["containers"][0]["image"] == image for pod in pods)


async def _all_run(stage: Stage, image: str) -> bool:
    """Have every pod of that image be ready, as its kubelet would; whether those are all three."""
    pods = await stage.kube.list(POD, stage.namespace)
    good = [pod for pod in pods if pod["spec"]["containers"][0]["image"] == image]
    for pod in good:
        conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
        status = {"status": {"phase": "Running", "conditions": conditions}}
        try:
            await stage.kube.patch(POD, stage.namespace, pod["metadata"]["name"], status, subresource="status")
        except NotFound:
            return False
    await stage.reconcile()
    return len(good) == len(pods) == 3 and (await stage.get(STATEFUL_SET))["status"].get("readyReplicas") == 3


async def test_replicas_are_left_to_whoever_scales_unless_the_spec_sets_them(stage: Stage) -> None:
    await stage.create()
    await stage.reconcile()
    assert (await stage.get(STATEFUL_SET))["spec"]["replicas"] == 1
    await stage.kubectl("scale", "statefulset", "search", "--replicas=3")
    await stage.change(image="example.com/server:2")
    await stage.reconcile()
    assert (await stage.get(STATEFUL_SET))["spec"]["replicas"] == 3
    await stage.change(backendReplicas=2)
    await stage.reconcile()
    assert (await stage.get(STATEFUL_SET))["spec"]["replicas"] == 2
    await stage.change(backendReplicas=0)
    await stage.reconcile()
    assert (await stage.status())["phase"] == "Stopped"
    assert (await stage.condition("Ready"))[:2] == ("False", "ScaledToZero")


def _stateful_set(labels: dict[str, str]) -> JsonObject:
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "mcp", "image": "example.com/other:1"}]}}
    return {"selector": {"matchLabels": labels}, "serviceName": "x", "replicas": 0, "template": pod}


async def test_a_stranger_of_the_same_name_is_left_alone_and_said(stage: Stage) -> None:
    head = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
    body = head | {"metadata": {"namespace": stage.namespace, "name": "search"}, "spec": _stateful_set({"app": "x"})}
    before = await stage.kube.create(STATEFUL_SET, body)
    await stage.create()
    assert await stage.reconcile() is not None
    assert (await stage.condition("Ready"))[:2] == ("False", "NameConflict")
    assert (await stage.get(STATEFUL_SET))["metadata"]["generation"] == before["metadata"]["generation"]
    assert await stage.owned() == [(STATEFUL_SET, "search")]


async def test_what_another_operator_runs_is_left_to_it(stage: Stage) -> None:
    """As ToolHive leaves it: a Deployment of the MCPServer's own name, its status, its finalizer."""
    await stage.create()
    server = await stage.get(MCP_SERVER)
    labels = {"app.kubernetes.io/name": "mcpserver", "app.kubernetes.io/instance": "search"}
    reference = {key: server["metadata"][key] for key in ("name", "uid")} | {"controller": True}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": stage.namespace,
            "name": "search",
            "labels": labels,
            "ownerReferences": [reference | {"apiVersion": MCP_SERVER.api_version, "kind": "MCPServer"}],
        },
        "spec": {key: value for key, value in _stateful_set(labels).items() if key != "serviceName"},
    }
    await stage.kube.create(DEPLOYMENT, body)
    told = {"status": {"phase": "Ready", "url": "http://mcp-search-proxy:8080/mcp"}}
    await stage.kube.patch(MCP_SERVER, stage.namespace, "search", told, subresource="status")
    await stage.reconcile()
    assert await stage.owned() == []
    status, reason, message = await stage.condition("Managed")
    assert (status, reason) == ("False", "ForeignController")
    assert "--manage-mcpservers=false" in message
    assert told["status"].items() <= (await stage.status()).items()
    version = (await stage.get(MCP_SERVER))["metadata"]["resourceVersion"]
    await stage.reconcile()
    assert (await stage.get(MCP_SERVER))["metadata"]["resourceVersion"] == version

    await stage.kube.delete(DEPLOYMENT, stage.namespace, "search")
    await stage.until(lambda: _runs(stage))
    assert "Managed" not in {condition["type"] for condition in (await stage.status())["conditions"]}


async def _runs(stage: Stage) -> bool:
    await stage.reconcile()
    return await stage.owned() == HTTP


async def test_a_name_that_fits_nowhere_is_said(stage: Stage) -> None:
    for name, problem in (("dotted.name", "letters, digits and dashes"), ("x" * 60, "60 characters")):
        await stage.create(name)
        await stage.reconcile(name)
        assert problem in (await stage.condition("Valid", name))[2]


async def test_the_proxy_may_attach_to_its_own_servers_pod_only(stage: Stage) -> None:
    await stage.create(transport="stdio")
    await stage.reconcile()
    account = f"--as=system:serviceaccount:{stage.namespace}:search-proxy"
    for verb in ("create", "get"):
        allowed = await stage.kubectl("auth", "can-i", verb, "pods/search-0", "--subresource=attach", account)
        assert allowed.strip() == "yes"
    rules = (await stage.get(ROLE, "search-proxy"))["rules"]
    assert {name for rule in rules for name in rule["resourceNames"]} == {"search-0"}
    assert {rule["resources"][0] for rule in rules} == {"pods/attach"}


async def test_toolhives_finalizers_hold_nothing_up_and_only_while_something_is_deleted(stage: Stage) -> None:
    await stage.create()
    await stage.kube.create(
        MCP_GROUP, samples.manifest("MCPGroup", {}) | {"metadata": {"namespace": stage.namespace, "name": "team"}}
    )
    for kind, name, finalizer in ((MCP_SERVER, "search", SERVER_FINALIZER), (MCP_GROUP, "team", GROUP_FINALIZER)):
        both = {"metadata": {"finalizers": ["example.com/other", finalizer]}}
        await stage.kube.patch(kind, stage.namespace, name, both)
        await release(stage.kube, kind, await stage.get(kind, name), finalizer)
        assert (await stage.get(kind, name))["metadata"]["finalizers"] == ["example.com/other", finalizer]
        await stage.kube.delete(kind, stage.namespace, name)
    await stage.reconcile()
    assert (await stage.status())["phase"] == "Terminating"
    await release(stage.kube, MCP_GROUP, await stage.get(MCP_GROUP, "team"), GROUP_FINALIZER)
    for kind, name in ((MCP_SERVER, "search"), (MCP_GROUP, "team")):
        assert (await stage.get(kind, name))["metadata"]["finalizers"] == ["example.com/other"]
        await stage.kube.patch(kind, stage.namespace, name, {"metadata": {"finalizers": []}})
    await stage.until(lambda: _gone(stage))


async def _gone(stage: Stage) -> bool:
    await stage.reconcile()
    return not await stage.kube.list(MCP_SERVER, stage.namespace)
