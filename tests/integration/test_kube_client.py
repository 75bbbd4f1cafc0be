"""The Kubernetes client on a real API server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from vmcp.api.kinds import MCP_GROUP, VIRTUAL_MCP_SERVER, Kind
from vmcp.kube import client as module
from vmcp.kube.client import Conflict, JsonObject, Kube, KubeError, NotFound, connect
from vmcp.kube.kinds import CONFIG_MAP
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


def config_map(namespace: str, name: str = "settings", **data: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": {"test": namespace}},
        "data": data,
    }


def version(obj: JsonObject) -> str:
    return str(obj["metadata"]["resourceVersion"])


async def test_what_was_created_is_read_back(kube: Kube, namespace: str) -> None:
    created = await kube.create(CONFIG_MAP, config_map(namespace, colour="blue"))
    assert await kube.get(CONFIG_MAP, namespace, "settings") == created
    assert created["data"] == {"colour": "blue"}


async def test_a_custom_object_is_read_back(kube: Kube, namespace: str) -> None:
    body = {
        "apiVersion": MCP_GROUP.api_version,
        "kind": MCP_GROUP.name,
        "metadata": {"namespace": namespace, "name": "team"},
        "spec": {"description": "tools — für alle"},
    }
    await kube.create(MCP_GROUP, body)
    assert (await kube.get(MCP_GROUP, namespace, "team"))["spec"]["description"] == "tools — für alle"


async def test_an_object_a_namespace_or_a_kind_that_does_not_exist_is_not_found(kube: Kube, namespace: str) -> None:
    unknown = Kind("example.com", "v1", "things", "Thing")
    for kind, where in ((CONFIG_MAP, namespace), (VIRTUAL_MCP_SERVER, "no-such-namespace"), (unknown, namespace)):
        with pytest.raises(NotFound) as caught:
            await kube.get(kind, where, "missing")
        assert caught.value.status == 404


async def test_a_name_out_of_the_namespace_reaches_nothing(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, config_map(namespace))
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, "default", f"../../{namespace}/configmaps/settings")


async def test_creating_what_exists_is_a_conflict_that_says_so(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, config_map(namespace))
    with pytest.raises(Conflict) as caught:
        await kube.create(CONFIG_MAP, config_map(namespace))
    assert caught.value.reason == "AlreadyExists"


async def test_a_spec_that_is_refused_is_an_error_in_the_servers_words(kube: Kube, namespace: str) -> None:
    body = {
        "apiVersion": VIRTUAL_MCP_SERVER.api_version,
        "kind": VIRTUAL_MCP_SERVER.name,
        "metadata": {"namespace": namespace, "name": "gate"},
        "spec": {},
    }
    with pytest.raises(KubeError, match=r"spec\.groupRef: Required value") as caught:
        await kube.create(VIRTUAL_MCP_SERVER, body)
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


async def test_a_list_is_read_page_by_page_and_whole(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_SIZE", 3)
    for number in range(10):
        await kube.create(CONFIG_MAP, config_map(namespace, f"c{number}"))
    selector = f"test={namespace}"
    for where in (namespace, None):
        found = await kube.list(CONFIG_MAP, where, label_selector=selector)
        assert [obj["metadata"]["name"] for obj in found] == [f"c{number}" for number in range(10)]
    assert await kube.list(CONFIG_MAP, namespace, label_selector="test=nobody") == []


async def test_an_apply_creates_and_an_equal_one_writes_nothing(kube: Kube, namespace: str) -> None:
    created = await kube.apply(CONFIG_MAP, config_map(namespace, colour="blue"))
    again = await kube.apply(CONFIG_MAP, config_map(namespace, colour="blue"))
    assert version(again) == version(created)
    changed = await kube.apply(CONFIG_MAP, config_map(namespace, shape="round"))
    assert changed["data"] == {"shape": "round"}


async def test_an_apply_takes_fields_over_and_leaves_those_of_others(kube: Kube, namespace: str) -> None:
    await kube.apply(CONFIG_MAP, config_map(namespace, colour="red", size="large"), manager="somebody")
    after = await kube.apply(CONFIG_MAP, config_map(namespace, colour="blue"))
    assert after["data"] == {"colour": "blue", "size": "large"}


async def test_an_apply_for_an_object_that_is_gone_or_was_replaced_is_refused(kube: Kube, namespace: str) -> None:
    earlier = await kube.create(CONFIG_MAP, config_map(namespace))
    await kube.delete(CONFIG_MAP, namespace, "settings")
    body = config_map(namespace)
    body["metadata"]["uid"] = earlier["metadata"]["uid"]
    with pytest.raises(Conflict):
        await kube.apply(CONFIG_MAP, body)
    await kube.create(CONFIG_MAP, config_map(namespace))
    with pytest.raises(KubeError, match=r"metadata\.uid"):
        await kube.apply(CONFIG_MAP, body)


async def test_an_apply_with_an_outdated_version_is_a_conflict(kube: Kube, namespace: str) -> None:
    earlier = await kube.create(CONFIG_MAP, config_map(namespace, colour="blue"))
    await kube.patch(CONFIG_MAP, namespace, "settings", {"data": {"colour": "red"}})
    body = config_map(namespace, colour="green")
    body["metadata"]["resourceVersion"] = version(earlier)
    with pytest.raises(Conflict):
        await kube.apply(CONFIG_MAP, body)


async def test_a_patch_merges(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, config_map(namespace, colour="blue", size="large"))
    after = await kube.patch(CONFIG_MAP, namespace, "settings", {"data": {"colour": None, "shape": "round"}})
    assert after["data"] == {"size": "large", "shape": "round"}
    with pytest.raises(NotFound):
        await kube.patch(CONFIG_MAP, namespace, "missing", {"data": {}})


async def test_a_patch_of_the_status_leaves_the_spec_alone(kube: Kube, namespace: str) -> None:
    body = {
        "apiVersion": MCP_GROUP.api_version,
        "kind": MCP_GROUP.name,
        "metadata": {"namespace": namespace, "name": "team"},
        "spec": {"description": "tools"},
    }
    await kube.create(MCP_GROUP, body)
    change = {"spec": {"description": "other"}, "status": {"phase": "Ready"}}
    after = await kube.patch(MCP_GROUP, namespace, "team", change, subresource="status")
    assert after["status"]["phase"] == "Ready"
    assert after["spec"] == {"description": "tools"}


async def test_a_deletion_with_a_uid_takes_only_that_object(kube: Kube, namespace: str) -> None:
    created = await kube.create(CONFIG_MAP, config_map(namespace))
    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAP, namespace, "settings", uid="11111111-2222-3333-4444-555555555555")
    await kube.delete(CONFIG_MAP, namespace, "settings", uid=created["metadata"]["uid"])
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAP, namespace, "settings")
    with pytest.raises(NotFound):
        await kube.delete(CONFIG_MAP, namespace, "settings")


async def test_what_is_not_allowed_is_an_error_that_says_so(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, crds: None
) -> None:
    token = (await asyncio.to_thread(kubectl, "-n", namespace, "create", "token", "default")).strip()
    async with connect(str(control_plane.kubeconfig)) as kube:
        configuration = kube._api.configuration
        configuration.api_key = {"BearerToken": f"Bearer {token}"}
        with pytest.raises(KubeError) as caught:
            await kube.get(CONFIG_MAP, namespace, "settings")
    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")
    assert token not in str(caught.value)


async def test_many_calls_at_once_are_all_answered(kube: Kube, namespace: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(kube.apply(CONFIG_MAP, config_map(namespace, f"c{number}")))
    assert len(await kube.list(CONFIG_MAP, namespace, label_selector=f"test={namespace}")) == 60
