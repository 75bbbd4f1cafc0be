"""What happened while no watch was there is found by listing a real API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from tests.api import samples

from vmcp.api.kinds import MCP_GROUP, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER
from vmcp.handlers import resync as module
from vmcp.handlers.resync import Resync
from vmcp.kube.client import JsonObject, Kube, connect
from vmcp.kube.kinds import CONFIG_MAP
from vmcp.reconcile.cache import Cache
from vmcp_dev.controlplane import ControlPlane

PATIENCE_S = 60.0


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.1)


def named(manifest: JsonObject, namespace: str, name: str) -> JsonObject:
    return manifest | {"metadata": {"namespace": namespace, "name": name}}


async def until_there(key: str, keys: set[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if key in keys:
                return
            await asyncio.sleep(0.05)


async def test_deletions_and_changes_that_no_watch_reported_concern_whom_they_should(
    kube: Kube, namespace: str
) -> None:
    labels = {"app.kubernetes.io/name": "virtualmcpserver", "app.kubernetes.io/instance": "gate"}
    owned: JsonObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": "gate-vmcp-config", "labels": labels},
    }
    await kube.create(VIRTUAL_MCP_SERVER, named(samples.vmcp(), namespace, "gate"))
    await kube.create(VIRTUAL_MCP_SERVER, named(samples.vmcp(), namespace, "last-of-its-group"))
    await kube.create(MCP_GROUP, named(samples.manifest("MCPGroup", {}), namespace, "team"))
    await kube.create(MCP_SERVER_ENTRY, named(samples.entry(), namespace, "remote"))
    await kube.create(CONFIG_MAP, owned)

    cache, keys = Cache(), set[str]()
    resync = Resync(kube=kube, cache=cache, add=lambda key: keys.add(str(key)), namespaces=[namespace])
    await resync.fill()
    assert keys == {
        f"virtualmcpservers/{namespace}/gate",
        f"virtualmcpservers/{namespace}/last-of-its-group",
        f"mcpgroups/{namespace}/team",
        f"mcpserverentries/{namespace}/remote",
    }

    loop = asyncio.create_task(resync.run())
    try:
        for kind, name, concerned in (
            (CONFIG_MAP, "gate-vmcp-config", "virtualmcpservers/{}/gate"),
            (MCP_SERVER_ENTRY, "remote", "mcpgroups/{}/team"),
            (VIRTUAL_MCP_SERVER, "last-of-its-group", "virtualmcpservers/{}/last-of-its-group"),
            (VIRTUAL_MCP_SERVER, "gate", "virtualmcpservers/{}/gate"),
        ):
            keys.clear()
            await kube.delete(kind, namespace, name)
            resync.listed()
            await until_there(concerned.format(namespace), keys)
            assert cache.get(kind, namespace, name) is None
        keys.clear()
        await kube.patch(MCP_GROUP, namespace, "team", {"spec": {"description": "changed"}})
        resync.listed()
        await until_there(f"mcpgroups/{namespace}/team", keys)
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
