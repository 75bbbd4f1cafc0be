"""spec.podTemplateSpec on a real API server: merged, taken back, and refused before anything is applied."""

from collections.abc import AsyncIterator

import pytest
from tests.integration.inprocess import Stage, set_out

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.status import Phase
from vmcp.kube.client import JsonObject, Kube, NotFound, connect
from vmcp.kube.kinds import CONFIG_MAP
from vmcp.status.findings import Findings
from vmcp_dev.controlplane import ControlPlane


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def stage(kube: Kube, namespace: str) -> Stage:
    return await set_out(kube, namespace)


def said(found: Findings) -> tuple[bool, str, str]:
    finding = next(each for each in found.conditions if each.type == ConditionType.POD_TEMPLATE_SPEC_VALID)
    return finding.status, finding.reason, finding.message


async def pod(stage: Stage) -> JsonObject:
    found: JsonObject = (await stage.deployment())["spec"]["template"]["spec"]
    return found


async def test_it_is_merged_and_taken_back_with_the_field(stage: Stage) -> None:
    patch = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "containers": [
            {"name": "vmcp", "env": [{"name": "TZ", "value": "UTC"}], "resources": {"requests": {"cpu": "10m"}}},
            {"name": "mesh", "image": "mesh:1"},
        ],
    }
    await stage.change(podTemplateSpec={"spec": patch})
    found = await stage.reconcile()
    assert found.blocked is None
    assert said(found)[:2] == (True, Reason.POD_TEMPLATE_SPEC_VALID)
    merged = await pod(stage)
    assert merged["nodeSelector"] == {"disk": "fast"}
    assert [each["name"] for each in merged["containers"]] == ["vmcp", "mesh"]
    assert merged["containers"][0]["resources"]["requests"] == {"cpu": "10m", "memory": "128Mi"}

    await stage.change(podTemplateSpec=None)
    await stage.reconcile()
    merged = await pod(stage)
    assert "nodeSelector" not in merged
    assert "tolerations" not in merged
    (container,) = merged["containers"]
    assert container["resources"]["requests"]["cpu"] == "100m"
    assert "TZ" not in [each["name"] for each in container["env"]]


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"containers": [{"name": "vmcp", "resources": {"limits": {"cpu": "much"}}}]}, "quantities must match"),
        ({"containers": [{"name": "mesh"}]}, "image"),
        ({"containers": [{"name": "vmcp", "imgae": "x"}]}, "imgae"),
        ({"containers": [{"name": "vmcp", "$patch": "delete"}]}, "the container vmcp must stay"),
        ({"tolerations": [{"key": "a", "operator": "Perhaps"}]}, "Perhaps"),
        ({"replicas": 3}, "replicas"),
    ],
)
async def test_one_that_cannot_be_is_told_and_nothing_at_all_is_applied(
    stage: Stage, patch: JsonObject, words: str
) -> None:
    await stage.change(podTemplateSpec={"spec": patch})
    for _ in range(2):
        found = await stage.reconcile()
        assert found.blocked is not None
        assert found.blocked.phase is Phase.FAILED
        status, reason, message = said(found)
        assert (status, reason) == (False, Reason.INVALID_POD_TEMPLATE_SPEC)
        assert message.startswith("spec.podTemplateSpec")
        assert words in message
    with pytest.raises(NotFound):
        await stage.kube.get(CONFIG_MAP, stage.namespace, "gate-vmcp-config")


async def test_one_that_becomes_invalid_leaves_what_runs_and_a_mended_one_goes_on(stage: Stage) -> None:
    await stage.reconcile()
    generation = (await stage.deployment())["metadata"]["generation"]
    await stage.change(podTemplateSpec={"spec": {"dnsPolicy": "Sometimes"}})
    found = await stage.reconcile()
    assert said(found)[0] is False
    assert stage.backends().keys() == {"remote"}
    assert (await stage.deployment())["metadata"]["generation"] == generation
    await stage.change(podTemplateSpec={"spec": {"dnsPolicy": "Default"}})
    assert (await stage.reconcile()).blocked is None
    assert (await pod(stage))["dnsPolicy"] == "Default"


async def test_a_second_reconcile_with_it_writes_nothing(stage: Stage) -> None:
    await stage.change(podTemplateSpec={"spec": {"containers": [{"name": "vmcp", "resources": None}]}}, replicas=0)
    await stage.reconcile()
    generation = (await stage.deployment())["metadata"]["generation"]
    stage.restart()
    await stage.reconcile()
    assert (await stage.deployment())["metadata"]["generation"] == generation
