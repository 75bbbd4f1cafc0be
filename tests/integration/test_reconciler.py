"""One reconcile after another on a real API server: what is applied, watched, reported and let go."""

from collections.abc import AsyncIterator

import pytest
from tests.api import samples
from tests.integration.inprocess import Stage, set_out

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.kinds import MCP_GROUP, MCP_SERVER, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER
from vmcp.api.status import Phase
from vmcp.kube.client import Kube, NotFound, connect
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE
from vmcp.reconcile.cache import Key
from vmcp_dev.controlplane import ControlPlane


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def stage(kube: Kube, namespace: str) -> Stage:
    return await set_out(kube, namespace)


async def test_a_sound_object_gets_its_objects_and_its_backends_are_watched(stage: Stage) -> None:
    found = await stage.reconcile()
    assert found.blocked is None
    assert found.url == f"http://vmcp-gate.{stage.namespace}.svc.cluster.local:4483"
    assert stage.backends() == {"remote": "https://mcp.example.com/mcp"}
    text = (await stage.kube.get(CONFIG_MAP, stage.namespace, "gate-vmcp-config"))["data"]["config.yaml"]
    assert "https://mcp.example.com/mcp" in text
    await stage.kube.get(SECRET, stage.namespace, "gate-hmac-secret")


async def test_a_member_that_has_no_url_yet_is_shown_and_not_called(stage: Stage) -> None:
    await stage.create(MCP_SERVER, samples.server(groupRef={"name": "team"}), "search")
    await stage.reconcile()
    assert stage.backends() == {"remote": "https://mcp.example.com/mcp", "search": ""}
    status = {"status": {"url": "http://search:8080"}}
    await stage.kube.patch(MCP_SERVER, stage.namespace, "search", status, subresource="status")
    await stage.reconcile()
    assert stage.backends()["search"] == "http://search:8080/mcp"


async def test_a_member_that_leaves_the_group_leaves_the_backends(stage: Stage) -> None:
    await stage.reconcile()
    await stage.kube.patch(MCP_SERVER_ENTRY, stage.namespace, "remote", {"spec": {"groupRef": {"name": "others"}}})
    await stage.reconcile()
    assert stage.backends() == {}


async def test_a_ca_bundle_is_waited_for_and_then_mounted(stage: Stage) -> None:
    reference = {"configMapRef": {"name": "corp-ca", "key": "ca.crt"}}
    await stage.kube.patch(MCP_SERVER_ENTRY, stage.namespace, "remote", {"spec": {"caBundleRef": reference}})
    found = await stage.reconcile()
    messages = [finding.message for finding in found.conditions if finding.type == ConditionType.BACKENDS_DISCOVERED]
    assert "ConfigMap corp-ca with key ca.crt does not exist; create it" in messages[0]
    assert stage.again is not None
    assert stage.backends() == {}

    await stage.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": "PEM"}}, "corp-ca")
    await stage.reconcile()
    assert stage.backends().keys() == {"remote"}
    volumes = (await stage.deployment())["spec"]["template"]["spec"]["volumes"]
    assert "corp-ca" in [volume["configMap"]["name"] for volume in volumes]


async def test_a_ca_bundle_of_another_namespace_is_out_of_reach(stage: Stage) -> None:
    reference = {"configMapRef": {"name": "../../kube-system/configmaps/kube-root-ca.crt", "key": "ca.crt"}}
    await stage.kube.patch(MCP_SERVER_ENTRY, stage.namespace, "remote", {"spec": {"caBundleRef": reference}})
    await stage.reconcile()
    assert stage.backends() == {}


async def test_what_the_api_server_refuses_is_told_in_its_words_and_tried_again(stage: Stage) -> None:
    await stage.reconcile()
    await stage.change(serviceAccount="Not Valid!")
    found = await stage.reconcile()
    assert found.blocked is not None
    assert (found.blocked.phase, found.blocked.reason) == (Phase.FAILED, Reason.RECONCILE_FAILED)
    assert "Not Valid!" in found.blocked.message
    assert stage.again is not None
    assert stage.backends().keys() == {"remote"}

    await stage.change(serviceAccount=None)
    assert (await stage.reconcile()).blocked is None


async def test_a_name_that_is_taken_is_told_and_the_rest_left_alone(stage: Stage) -> None:
    ports = [{"port": 80}]
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}}
    before = await stage.create(SERVICE, service, "vmcp-gate")
    found = await stage.reconcile()
    assert found.blocked is not None
    assert (found.blocked.phase, found.blocked.reason) == (Phase.FAILED, Reason.NAME_CONFLICT)
    assert "Service vmcp-gate" in found.blocked.message
    assert await stage.kube.get(SERVICE, stage.namespace, "vmcp-gate") == before
    with pytest.raises(NotFound):
        await stage.deployment()

    await stage.kube.delete(SERVICE, stage.namespace, "vmcp-gate")
    assert (await stage.reconcile()).blocked is None


async def test_a_spec_that_must_fail_closed_stops_the_gateway_and_a_mended_one_starts_it(stage: Stage) -> None:
    await stage.reconcile()
    await stage.change(incomingAuth=samples.OIDC)
    for _ in range(2):
        found = await stage.reconcile()
        assert found.blocked is not None
        assert "spec.incomingAuth.type" in found.blocked.message
        assert found.url == ""
        assert (await stage.deployment())["spec"]["replicas"] == 0

    await stage.change(incomingAuth={"type": "anonymous", "oidcConfigRef": None})
    found = await stage.reconcile()
    assert found.blocked is None
    assert (await stage.deployment())["spec"]["replicas"] == 1


async def test_a_spec_that_must_fail_closed_from_the_start_makes_nothing(stage: Stage) -> None:
    await stage.change(incomingAuth=samples.OIDC)
    await stage.reconcile()
    for kind, name in ((DEPLOYMENT, "gate"), (CONFIG_MAP, "gate-vmcp-config"), (SERVICE, "vmcp-gate")):
        with pytest.raises(NotFound):
            await stage.kube.get(kind, stage.namespace, name)


async def test_a_missing_group_leaves_what_runs_and_what_is_watched_even_after_a_restart(stage: Stage) -> None:
    await stage.reconcile()
    before = (await stage.deployment())["metadata"]["generation"]
    await stage.kube.delete(MCP_GROUP, stage.namespace, "team")
    for _ in range(2):
        found = await stage.reconcile()
        assert found.blocked is not None
        assert found.blocked.reason == Reason.GROUP_REF_NOT_FOUND
        assert stage.backends() == {"remote": "https://mcp.example.com/mcp"}
        assert (await stage.deployment())["metadata"]["generation"] == before
        stage.restart()


async def test_a_deleted_object_is_let_go(stage: Stage) -> None:
    await stage.reconcile()
    await stage.kube.delete(VIRTUAL_MCP_SERVER, stage.namespace, "gate")
    key = Key(VIRTUAL_MCP_SERVER.plural, stage.namespace, "gate")
    assert await stage.process.reconciler.reconcile(key) is None
    assert stage.process.reconciler.findings(stage.uid) is None
    assert stage.process.monitor.snapshots(stage.uid) == ()
    assert stage.process.writer.statistics().objects == 0


async def test_an_object_made_anew_under_its_name_takes_nothing_over(stage: Stage) -> None:
    await stage.reconcile()
    earlier = stage.uid
    await stage.kube.delete(VIRTUAL_MCP_SERVER, stage.namespace, "gate")
    await stage.create(VIRTUAL_MCP_SERVER, samples.vmcp(), "gate")
    await stage.reconcile()
    assert stage.uid != earlier
    assert stage.process.reconciler.findings(earlier) is None
    assert stage.process.monitor.snapshots(earlier) == ()


async def test_a_group_and_an_entry_say_what_they_are(stage: Stage) -> None:
    await stage.process.resync.fill()
    for kind, name in ((MCP_GROUP, "team"), (MCP_SERVER_ENTRY, "remote")):
        await stage.process.reconciler.reconcile(Key(kind.plural, stage.namespace, name))
    group = await stage.kube.get(MCP_GROUP, stage.namespace, "team")
    entry = await stage.kube.get(MCP_SERVER_ENTRY, stage.namespace, "remote")
    assert group["status"]["phase"] == "Ready"
    assert entry["status"]["phase"] == "Valid"
    for kind, obj in ((MCP_GROUP, group), (MCP_SERVER_ENTRY, entry)):
        await stage.process.reconciler.reconcile(Key.of(kind, obj))
        after = await stage.kube.get(kind, stage.namespace, obj["metadata"]["name"])
        assert after["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]


async def test_an_entry_of_a_group_that_does_not_exist_says_so(stage: Stage) -> None:
    await stage.kube.delete(MCP_GROUP, stage.namespace, "team")
    await stage.process.resync.fill()
    await stage.process.reconciler.reconcile(Key(MCP_SERVER_ENTRY.plural, stage.namespace, "remote"))
    status = (await stage.kube.get(MCP_SERVER_ENTRY, stage.namespace, "remote"))["status"]
    assert status["phase"] != "Valid"
    assert any("MCPGroup team does not exist" in condition["message"] for condition in status["conditions"])


async def test_keys_of_objects_that_are_gone_are_no_trouble(stage: Stage) -> None:
    for kind in (VIRTUAL_MCP_SERVER, MCP_GROUP, MCP_SERVER_ENTRY):
        assert await stage.process.reconciler.reconcile(Key(kind.plural, stage.namespace, "never")) is None
