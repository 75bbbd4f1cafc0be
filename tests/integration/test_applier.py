"""The applier on a real API server: it writes what is ours, restores it, and leaves everything else alone."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from tests.api import samples

from vmcp.api.kinds import VIRTUAL_MCP_SERVER, Kind
from vmcp.kube.client import JsonObject, Kube, KubeError, NotFound, connect
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE
from vmcp.reconcile.applier import REPLICAS_BEFORE, ROLLOUT_NUMBER, STOPPED, Applier, NameTaken, NotYet
from vmcp.reconcile.desired import Owned, desired
from vmcp.reconcile.plan import Surroundings, plan
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl

IMAGE = "example.com/vmcp:1"


class Stage:
    """One VirtualMCPServer and what an operator would apply for it."""

    def __init__(self, kube: Kube, kubectl: Kubectl, owner: JsonObject) -> None:
        self.kube = kube
        self.owner = owner
        self.namespace: str = owner["metadata"]["namespace"]
        self.applier = Applier(kube)
        self._kubectl = kubectl

    def desired(self, *, image: str = IMAGE) -> list[Owned]:
        wanted = plan(self.owner, Surroundings({"metadata": {"name": "team"}}), image=image).wanted
        assert wanted is not None
        return desired(wanted)

    def one(self, kind: Kind, *, image: str = IMAGE) -> Owned:
        return next(owned for owned in self.desired(image=image) if owned.kind == kind)

    async def apply_all(self, *, image: str = IMAGE) -> dict[str, JsonObject]:
        return {
            owned.kind.name: await self.applier.apply(owned, self.owner, None) for owned in self.desired(image=image)
        }

    async def stored(self) -> dict[str, JsonObject]:
        return {
            owned.kind.name: await self.kube.get(owned.kind, self.namespace, owned.name) for owned in self.desired()
        }

    async def versions(self) -> dict[str, str]:
        return {kind: obj["metadata"]["resourceVersion"] for kind, obj in (await self.stored()).items()}

    async def deployment(self) -> JsonObject:
        return await self.kube.get(DEPLOYMENT, self.namespace, "gate")

    async def kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._kubectl, "-n", self.namespace, *arguments)

    async def change(self, **spec: Any) -> None:
        """The spec is changed by its user; None removes a field."""
        self.owner = await self.kube.patch(VIRTUAL_MCP_SERVER, self.namespace, "gate", {"spec": spec})

    async def apply_all_without_pods(self) -> None:
        """So that the Deployment's controller has soon written its last word."""
        await self.change(replicas=0)
        await self.apply_all()
        async with asyncio.timeout(60):
            while True:
                status = (await self.deployment()).get("status") or {}
                if "NewReplicaSetAvailable" in [condition["reason"] for condition in status.get("conditions", [])]:
                    return
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        await self.applier.stop(self.owner, await self.deployment(), "spec.incomingAuth.type: not supported yet")

    async def resume(self) -> None:
        """As a reconcile of a spec that may be served again does it."""
        await self.applier.resume(await self.deployment())
        await self.applier.apply(self.one(DEPLOYMENT), self.owner, None)


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


def manifest(namespace: str) -> JsonObject:
    body = samples.vmcp()
    body["metadata"] = {"namespace": namespace, "name": "gate"}
    return body


@pytest.fixture
async def stage(kube: Kube, kubectl: Kubectl, namespace: str) -> Stage:
    return Stage(kube, kubectl, await kube.create(VIRTUAL_MCP_SERVER, manifest(namespace)))


async def test_everything_that_is_owned_is_made(stage: Stage) -> None:
    applied = await stage.apply_all()
    assert set(applied) == {"ServiceAccount", "Role", "RoleBinding", "Lease", "ConfigMap", "Service", "Deployment"}
    for obj in applied.values():
        (reference,) = obj["metadata"]["ownerReferences"]
        assert reference["uid"] == stage.owner["metadata"]["uid"]
        assert "finalizers" not in obj["metadata"]


async def test_a_second_apply_writes_nothing(stage: Stage) -> None:
    await stage.apply_all_without_pods()
    before = await stage.versions()
    await stage.apply_all()
    assert await stage.versions() == before


async def test_an_operator_that_was_restarted_writes_nothing(stage: Stage) -> None:
    await stage.apply_all_without_pods()
    before = await stage.versions()
    stage.applier = Applier(stage.kube)
    await stage.apply_all()
    assert await stage.versions() == before


async def test_what_the_watch_shows_as_applied_is_not_even_asked_for(stage: Stage) -> None:
    await stage.apply_all_without_pods()
    applied = await stage.apply_all()
    unreachable = Applier(stage.kube)
    unreachable._applied = stage.applier._applied
    unreachable._kube = None  # type: ignore[assignment]
    for owned in stage.desired():
        seen = applied[owned.kind.name]
        assert await unreachable.apply(owned, stage.owner, seen) is seen


async def test_the_number_that_kubernetes_gives_a_rollout_is_nobodys_change(stage: Stage) -> None:
    deployment = next(owned for owned in stage.desired() if owned.kind == DEPLOYMENT)
    await stage.applier.apply(deployment, stage.owner, None)
    async with asyncio.timeout(60):
        while True:
            seen = await stage.kube.get(DEPLOYMENT, stage.namespace, deployment.name)
            if ROLLOUT_NUMBER in (seen["metadata"].get("annotations") or {}):
                break
            await asyncio.sleep(0.1)
    stage.applier._kube = None  # type: ignore[assignment]
    assert await stage.applier.apply(deployment, stage.owner, seen) is seen


async def test_an_object_that_was_deleted_comes_back(stage: Stage) -> None:
    await stage.apply_all()
    for owned in stage.desired():
        await stage.kube.delete(owned.kind, stage.namespace, owned.name)
        try:
            await stage.applier.apply(owned, stage.owner, None)
        except NotYet:
            # Its dependents go first.
            await stage.kubectl("wait", "--for=delete", f"{owned.kind.plural}/{owned.name}", "--timeout=60s")
            await stage.applier.apply(owned, stage.owner, None)
    assert len(await stage.stored()) == len(stage.desired())


async def test_a_field_of_ours_that_somebody_changed_is_put_right(stage: Stage) -> None:
    await stage.apply_all()
    await stage.kubectl("set", "image", "deployment/gate", "vmcp=example.com/other:9")
    await stage.kube.patch(SERVICE, stage.namespace, "vmcp-gate", {"spec": {"sessionAffinity": "None"}})
    applied = await stage.apply_all()
    assert applied["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    assert applied["Service"]["spec"]["sessionAffinity"] == "ClientIP"


async def test_what_others_add_stays(stage: Stage) -> None:
    await stage.apply_all()
    for kind in ("deployment/gate", "service/vmcp-gate", "configmap/gate-vmcp-config", "serviceaccount/gate-vmcp"):
        await stage.kubectl("label", kind, "team=blue")
        await stage.kubectl("annotate", kind, "example.com/note=ours")
    await stage.kubectl("scale", "deployment/gate", "--replicas=3")
    await stage.kubectl("rollout", "restart", "deployment/gate")
    restarted = (await stage.deployment())["spec"]["template"]["metadata"]["annotations"]

    stage.applier = Applier(stage.kube)
    applied = await stage.apply_all(image="example.com/vmcp:2")

    for kind in ("Deployment", "Service", "ConfigMap", "ServiceAccount"):
        assert applied[kind]["metadata"]["labels"]["team"] == "blue"
        assert applied[kind]["metadata"]["annotations"]["example.com/note"] == "ours"
    spec = applied["Deployment"]["spec"]
    name = "kubectl.kubernetes.io/restartedAt"
    assert spec["replicas"] == 3
    assert spec["template"]["metadata"]["annotations"][name] == restarted[name]
    assert spec["template"]["spec"]["containers"][0]["image"] == "example.com/vmcp:2"


async def test_replicas_of_the_spec_win_over_a_scale_and_are_let_go_with_it(stage: Stage) -> None:
    await stage.change(replicas=2)
    await stage.apply_all()
    await stage.kubectl("scale", "deployment/gate", "--replicas=5")
    assert (await stage.apply_all())["Deployment"]["spec"]["replicas"] == 2
    await stage.kubectl("scale", "deployment/gate", "--replicas=5")
    await stage.change(replicas=None)
    assert (await stage.apply_all())["Deployment"]["spec"]["replicas"] == 5


async def test_another_service_type_is_applied_and_taken_back(stage: Stage) -> None:
    for service_type in ("ClusterIP", "NodePort", "ClusterIP"):
        await stage.change(serviceType=service_type)
        assert (await stage.apply_all())["Service"]["spec"]["type"] == service_type


async def test_a_strangers_object_is_not_touched(stage: Stage) -> None:
    for owned in stage.desired():
        stranger: JsonObject = owned.body | {"metadata": {"namespace": stage.namespace, "name": owned.name}}
        before = await stage.kube.create(owned.kind, stranger)
        generation = before["metadata"].get("generation")
        with pytest.raises(NameTaken) as caught:
            await stage.applier.apply(owned, stage.owner, None)
        assert str(caught.value).startswith(f"{owned.kind.name} {owned.name} exists and belongs to somebody else")
        after = await stage.kube.get(owned.kind, stage.namespace, owned.name)
        assert after["metadata"].get("generation") == generation
        assert "ownerReferences" not in after["metadata"]
        assert not any(field["operation"] == "Apply" for field in after["metadata"].get("managedFields", []))


async def test_an_object_that_another_owner_controls_is_not_touched(stage: Stage) -> None:
    body = manifest(stage.namespace)
    body["metadata"]["name"] = "other"
    other = await stage.kube.create(VIRTUAL_MCP_SERVER, body)
    owned = stage.one(CONFIG_MAP)
    reference = owned.body["metadata"]["ownerReferences"][0] | {"name": "other", "uid": other["metadata"]["uid"]}
    theirs = owned.body | {"metadata": owned.body["metadata"] | {"ownerReferences": [reference]}}
    await stage.kube.create(CONFIG_MAP, theirs)
    with pytest.raises(NameTaken):
        await stage.applier.apply(owned, stage.owner, None)


async def test_once_the_stranger_is_gone_the_object_is_made(stage: Stage) -> None:
    owned = stage.one(CONFIG_MAP)
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": stage.namespace, "name": owned.name}}
    await stage.kube.create(CONFIG_MAP, stranger)
    with pytest.raises(NameTaken):
        await stage.applier.apply(owned, stage.owner, None)
    await stage.kube.delete(CONFIG_MAP, stage.namespace, owned.name)
    assert "config.yaml" in (await stage.applier.apply(owned, stage.owner, None))["data"]


async def test_what_an_earlier_owner_controls_is_waited_out(stage: Stage) -> None:
    await stage.apply_all()
    before = await stage.kube.get(CONFIG_MAP, stage.namespace, "gate-vmcp-config")
    later = stage.owner | {"metadata": stage.owner["metadata"] | {"uid": "11111111-2222-3333-4444-555555555555"}}
    for owned in stage.desired():
        with pytest.raises(NotYet) as caught:
            await stage.applier.apply(owned, later, None)
        assert str(caught.value) == f"{owned.kind.name} {owned.name} of an earlier object is being deleted"
    assert await stage.kube.get(CONFIG_MAP, stage.namespace, "gate-vmcp-config") == before


async def test_an_owner_that_was_made_anew_gets_all_that_it_owns_once_the_earlier_is_collected(stage: Stage) -> None:
    await stage.apply_all()
    await stage.kube.delete(VIRTUAL_MCP_SERVER, stage.namespace, "gate", uid=stage.owner["metadata"]["uid"])
    stage.owner = await stage.kube.create(VIRTUAL_MCP_SERVER, manifest(stage.namespace))
    async with asyncio.timeout(90):
        while True:
            with suppress(NotYet, KubeError):
                applied = await stage.apply_all()
                break
            await asyncio.sleep(0.1)
    for obj in applied.values():
        assert obj["metadata"]["ownerReferences"][0]["uid"] == stage.owner["metadata"]["uid"]


async def test_an_object_of_ours_that_is_being_deleted_is_waited_out(stage: Stage) -> None:
    owned = stage.one(CONFIG_MAP)
    await stage.applier.apply(owned, stage.owner, None)
    hold = {"metadata": {"finalizers": ["example.com/hold"]}}
    await stage.kube.patch(CONFIG_MAP, stage.namespace, owned.name, hold)
    await stage.kube.delete(CONFIG_MAP, stage.namespace, owned.name)
    leaving = await stage.kube.get(CONFIG_MAP, stage.namespace, owned.name)
    for seen in (None, leaving):
        with pytest.raises(NotYet):
            await stage.applier.apply(owned, stage.owner, seen)
    await stage.kube.patch(CONFIG_MAP, stage.namespace, owned.name, {"metadata": {"finalizers": None}})
    after = await stage.applier.apply(owned, stage.owner, None)
    assert after["metadata"]["uid"] != leaving["metadata"]["uid"]


async def test_a_gateway_that_may_not_serve_is_scaled_to_0_with_the_reason(stage: Stage) -> None:
    await stage.apply_all()
    await stage.stop()
    stopped = await stage.deployment()
    assert stopped["spec"]["replicas"] == 0
    assert stopped["metadata"]["annotations"][STOPPED] == "spec.incomingAuth.type: not supported yet"
    await stage.stop()
    assert (await stage.deployment())["metadata"]["generation"] == stopped["metadata"]["generation"]


async def test_a_stopped_gateway_that_somebody_scales_up_is_stopped_again(stage: Stage) -> None:
    await stage.apply_all()
    await stage.stop()
    await stage.kubectl("scale", "deployment/gate", "--replicas=2")
    await stage.stop()
    assert (await stage.deployment())["spec"]["replicas"] == 0


async def test_a_strangers_deployment_is_not_stopped(stage: Stage) -> None:
    body = stage.one(DEPLOYMENT).body
    await stage.kube.create(DEPLOYMENT, body | {"metadata": {"namespace": stage.namespace, "name": "gate"}})
    await stage.stop()
    assert (await stage.deployment())["spec"]["replicas"] == 1


@pytest.mark.parametrize("replicas", [None, 2])
async def test_a_resumed_gateway_has_the_replicas_that_the_spec_says(stage: Stage, replicas: int | None) -> None:
    await stage.change(replicas=replicas)
    await stage.apply_all()
    await stage.stop()
    await stage.resume()
    resumed = await stage.deployment()
    assert resumed["spec"]["replicas"] == (replicas or 1)
    assert not {STOPPED, REPLICAS_BEFORE} & resumed["metadata"].get("annotations", {}).keys()
    await stage.resume()
    assert (await stage.deployment())["metadata"]["generation"] == resumed["metadata"]["generation"]


async def test_a_resumed_gateway_has_the_replicas_that_it_was_scaled_to(stage: Stage) -> None:
    await stage.apply_all()
    await stage.kubectl("scale", "deployment/gate", "--replicas=3")
    await stage.stop()
    await stage.resume()
    assert (await stage.deployment())["spec"]["replicas"] == 3
    await stage.kubectl("scale", "deployment/gate", "--replicas=4")
    await stage.resume()
    assert (await stage.deployment())["spec"]["replicas"] == 4


async def test_a_resumed_gateway_has_the_replicas_that_the_spec_said_meanwhile(stage: Stage) -> None:
    await stage.change(replicas=2)
    await stage.apply_all()
    await stage.stop()
    await stage.change(replicas=4)
    await stage.resume()
    assert (await stage.deployment())["spec"]["replicas"] == 4


async def test_a_gateway_that_its_user_had_scaled_to_0_stays_so(stage: Stage) -> None:
    await stage.apply_all()
    await stage.kubectl("scale", "deployment/gate", "--replicas=0")
    await stage.stop()
    await stage.resume()
    assert (await stage.deployment())["spec"]["replicas"] == 0


async def test_the_session_key_is_made_once_and_one_that_is_there_is_kept(stage: Stage) -> None:
    await stage.applier.create_session_key(stage.owner, again=False)
    made = await stage.kube.get(SECRET, stage.namespace, "gate-hmac-secret")
    assert len(base64.b64decode(base64.b64decode(made["data"]["hmac-secret"]))) == 32
    assert made["metadata"]["ownerReferences"][0]["uid"] == stage.owner["metadata"]["uid"]

    stage.applier = Applier(stage.kube)
    for again in (False, True):
        await stage.applier.create_session_key(stage.owner, again=again)
    assert await stage.kube.get(SECRET, stage.namespace, "gate-hmac-secret") == made


async def test_a_session_key_that_went_is_made_again_when_asked_to(stage: Stage) -> None:
    await stage.applier.create_session_key(stage.owner, again=False)
    await stage.kube.delete(SECRET, stage.namespace, "gate-hmac-secret")
    await stage.applier.create_session_key(stage.owner, again=False)
    with pytest.raises(NotFound):
        await stage.kube.get(SECRET, stage.namespace, "gate-hmac-secret")
    await stage.applier.create_session_key(stage.owner, again=True)
    await stage.kube.get(SECRET, stage.namespace, "gate-hmac-secret")


async def test_two_owners_have_different_session_keys(stage: Stage) -> None:
    body = manifest(stage.namespace)
    body["metadata"]["name"] = "other"
    other = await stage.kube.create(VIRTUAL_MCP_SERVER, body)
    keys = set()
    for owner in (stage.owner, other):
        await stage.applier.create_session_key(owner, again=False)
        name = f"{owner['metadata']['name']}-hmac-secret"
        keys.add((await stage.kube.get(SECRET, stage.namespace, name))["data"]["hmac-secret"])
    assert len(keys) == 2
