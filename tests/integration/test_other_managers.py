"""Beside other controllers on a real API server: what is theirs stays, what is ours is put right, nobody fights."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.api import samples
from tests.integration.inprocess import Stage, set_out

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.status import Phase
from vmcp.kube.client import JsonObject, Kube, NotFound, connect
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE
from vmcp.reconcile.applier import Applier
from vmcp.reconcile.names import labels, owner_reference, selector_labels
from vmcp.status.findings import Finding, Findings
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def stage(kube: Kube, namespace: str) -> Stage:
    return await set_out(kube, namespace)


class Clock:
    """Monotonic seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def run(kubectl: Kubectl, stage: Stage, *arguments: str, stdin: str | None = None) -> str:
    return await asyncio.to_thread(kubectl, "-n", stage.namespace, *arguments, stdin=stdin)


async def apply_as(kubectl: Kubectl, stage: Stage, manager: str, body: JsonObject) -> None:
    arguments = ("apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-")
    await run(kubectl, stage, *arguments, stdin=json.dumps(body))


def of_the_deployment(spec: JsonObject, **metadata: Any) -> JsonObject:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gate", **metadata}, "spec": spec}


def with_image(image: str, container: str = "vmcp") -> JsonObject:
    return of_the_deployment({"template": {"spec": {"containers": [{"name": container, "image": image}]}}})


def image_of(deployment: JsonObject) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def condition(found: Findings, type_: ConditionType) -> Finding | None:
    return next((finding for finding in found.conditions if finding.type == type_), None)


async def our_writes(stage: Stage) -> dict[str, str]:
    """When we last wrote each owned object: what managedFields say of our manager."""
    written = {}
    for kind, name in ((DEPLOYMENT, "gate"), (SERVICE, "vmcp-gate"), (CONFIG_MAP, "gate-vmcp-config")):
        obj = await stage.kube.get(kind, stage.namespace, name)
        entries = obj["metadata"]["managedFields"]
        written[name] = json.dumps([entry for entry in entries if entry["manager"] == "vmcp-operator"], sort_keys=True)
    return written


async def test_what_a_second_controller_adds_is_no_cause_to_write(stage: Stage, kubectl: Kubectl) -> None:
    await stage.reconcile()
    before = await our_writes(stage)
    sidecar = with_image("mesh:1", "mesh")
    sidecar["metadata"]["annotations"] = {"mesh.example.com/on": "yes"}
    await apply_as(kubectl, stage, "mesh-controller", sidecar)
    node_port = [{"port": 4483, "protocol": "TCP", "appProtocol": "http"}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "vmcp-gate"}, "spec": {"ports": node_port}}
    await apply_as(kubectl, stage, "mesh-controller", service)
    versions = [(await stage.deployment())["metadata"]["resourceVersion"]]
    for _ in range(3):
        found = await stage.reconcile()
        assert found.blocked is None
        versions.append((await stage.deployment())["metadata"]["generation"])
    assert len(set(versions[1:])) == 1
    assert await our_writes(stage) == before
    names = [each["name"] for each in (await stage.deployment())["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["mesh", "vmcp"]
    assert condition(found, ConditionType.OBJECTS_UNCONTESTED) is None


async def test_a_mutating_policy_on_our_own_writes_leads_to_no_second_write(stage: Stage, kubectl: Kubectl) -> None:
    policy = f"pin-{stage.namespace}"
    await asyncio.to_thread(kubectl.apply, *mutating_policy(policy, stage.namespace))
    try:
        # A new policy takes a moment to be in force.
        await until(lambda: is_mutated(stage))
        await stage.reconcile()
        generation = (await stage.deployment())["metadata"]["generation"]
        assert image_of(await stage.deployment()) == "mirror.example.com/vmcp:1"
        for _ in range(3):
            stage.restart()
            assert (await stage.reconcile()).blocked is None
            await stage.reconcile()
        assert (await stage.deployment())["metadata"]["generation"] == generation
    finally:
        for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            await asyncio.to_thread(kubectl, "delete", kind, policy)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while True:
            if await look():
                return
            await asyncio.sleep(0.2)


async def has_replicas(stage: Stage, number: int) -> bool:
    return bool((await stage.deployment())["spec"]["replicas"] == number)


async def is_mutated(stage: Stage) -> bool:
    pod = {"containers": [{"name": "vmcp", "image": "x"}]}
    chosen = {"matchLabels": {"a": "b"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
    body = of_the_deployment({"selector": chosen, "template": template}, namespace=stage.namespace)
    body["metadata"]["name"] = "probe"
    judged = await stage.kube.apply(DEPLOYMENT, body, dry_run=True)
    return "mesh.example.com/pinned" in (judged["metadata"].get("annotations") or {})


def mutating_policy(name: str, namespace: str) -> tuple[JsonObject, JsonObject]:
    """Every Deployment of the namespace gets an annotation and another image: fields of nobody's, and of ours."""
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    expression = """Object{
        metadata: Object.metadata{annotations: {"mesh.example.com/pinned": "yes"}},
        spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [
          Object.spec.template.spec.containers{name: "vmcp", image: "mirror.example.com/vmcp:1"}]}}}}"""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    api = "admissionregistration.k8s.io/v1"
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    policy = {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    binding = {
        "apiVersion": api,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    return policy, binding


async def test_replicas_are_the_autoscalers_where_the_spec_sets_none(stage: Stage, kubectl: Kubectl) -> None:
    await stage.reconcile()
    await run(kubectl, stage, "autoscale", "deployment/gate", "--min=3", "--max=5", "--cpu=50%")
    await until(lambda: has_replicas(stage, 3))
    await stage.reconcile()
    stage.restart()
    await stage.change(podTemplateSpec={"spec": {"nodeSelector": {"disk": "fast"}}})
    await stage.reconcile()
    deployment = await stage.deployment()
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "fast"}


async def test_a_field_of_ours_is_put_right_at_once_and_then_ever_more_slowly(stage: Stage, kubectl: Kubectl) -> None:
    clock = Clock()
    stage.process.reconciler._applier = Applier(stage.kube, now=clock)
    await stage.reconcile()

    async def forced() -> str:
        await apply_as(kubectl, stage, "rival", with_image("rival:1"))
        await stage.reconcile()
        return image_of(await stage.deployment())

    assert await forced() == "example.com/vmcp:1"
    assert await forced() == "rival:1"
    assert stage.again == pytest.approx(2.0)
    for wait in (2.0, 4.0):
        clock.now += wait
        await stage.reconcile()
        assert image_of(await stage.deployment()) == "example.com/vmcp:1"
        assert await forced() == "rival:1"

    found = await stage.reconcile()
    assert found.blocked is None
    told = condition(found, ConditionType.OBJECTS_UNCONTESTED)
    assert told is not None
    assert (told.status, told.reason) == (False, Reason.FIELDS_CONTESTED)
    assert "Deployment gate: field manager rival keeps changing" in told.message

    clock.now += 1000.0
    found = await stage.reconcile()
    assert image_of(await stage.deployment()) == "example.com/vmcp:1"
    assert condition(found, ConditionType.OBJECTS_UNCONTESTED) is None


async def foreign_deployment(stage: Stage, kubectl: Kubectl, manager: str = "thv-operator") -> JsonObject:
    """As ToolHive's operator makes it for the same VirtualMCPServer."""
    owner = await stage.owner()
    pod = {"metadata": {"labels": labels("gate")}, "spec": {"containers": [{"name": "vmcp", "image": "toolhive:1"}]}}
    body = of_the_deployment(
        {"selector": {"matchLabels": selector_labels("gate")}, "template": pod},
        labels=labels("gate"),
        ownerReferences=[owner_reference(owner)],
    )
    await apply_as(kubectl, stage, manager, body)
    return await stage.deployment()


async def test_a_deployment_that_another_operator_runs_is_left_alone_with_all_else(
    stage: Stage, kubectl: Kubectl
) -> None:
    before = await foreign_deployment(stage, kubectl)
    for _ in range(2):
        found = await stage.reconcile()
        assert found.blocked is not None
        assert (found.blocked.phase, found.blocked.reason) == (Phase.FAILED, Reason.FOREIGN_CONTROLLER)
        assert "Deployment gate is run by another operator (field manager thv-operator)" in found.blocked.message
        assert stage.again is not None
    assert (await stage.deployment())["metadata"]["generation"] == before["metadata"]["generation"]
    for kind, name in ((CONFIG_MAP, "gate-vmcp-config"), (SERVICE, "vmcp-gate"), (SECRET, "gate-hmac-secret")):
        with pytest.raises(NotFound):
            await stage.kube.get(kind, stage.namespace, name)

    await stage.kube.delete(DEPLOYMENT, stage.namespace, "gate")
    assert (await stage.reconcile()).blocked is None
    assert image_of(await stage.deployment()) == "example.com/vmcp:1"


async def test_another_operators_gateway_is_not_stopped_for_what_we_cannot_do(stage: Stage, kubectl: Kubectl) -> None:
    before = await foreign_deployment(stage, kubectl)
    await stage.change(incomingAuth=samples.OIDC)
    await stage.reconcile()
    assert (await stage.deployment())["metadata"]["generation"] == before["metadata"]["generation"]


async def test_another_operator_that_takes_the_deployment_from_us_is_noticed(stage: Stage, kubectl: Kubectl) -> None:
    await stage.reconcile()
    await apply_as(kubectl, stage, "thv-operator", with_image("toolhive:1"))
    found = await stage.reconcile()
    assert found.blocked is not None
    assert found.blocked.reason == Reason.FOREIGN_CONTROLLER
    assert image_of(await stage.deployment()) == "toolhive:1"
