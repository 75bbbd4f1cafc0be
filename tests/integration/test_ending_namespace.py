"""A namespace that is being deleted takes nothing new: the operator lets it end, without retries and complaints."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator

import pytest
from tests.api import samples
from tests.integration.inprocess import Stage, set_out
from tests.integration.statusworld import eventually, running

from vmcp.api.kinds import MCP_SERVER, VIRTUAL_MCP_SERVER, Kind
from vmcp.health.clock import SystemClock
from vmcp.kube.client import JsonObject, Kube, NamespaceEnding, NotFound, connect
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET
from vmcp.reconcile.cache import Key
from vmcp.reconcile.workloads.servers import Servers
from vmcp.status.events import EventRecorder, EventType, Reference
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def stage(control_plane: ControlPlane, kube: Kube, kubectl: Kubectl) -> AsyncIterator[Stage]:
    """In a namespace of its own, which may be gone afterwards."""
    name = f"ending-{uuid.uuid4().hex[:10]}"
    await asyncio.to_thread(kubectl, "create", "namespace", name)
    manager = control_plane.pids()["kube-controller-manager"]
    try:
        yield await set_out(kube, name)
    finally:
        os.kill(manager, signal.SIGCONT)
        await asyncio.to_thread(kubectl, "delete", "namespace", name, "--wait=false", "--ignore-not-found")


async def end_namespace(stage: Stage, control_plane: ControlPlane, kubectl: Kubectl) -> None:
    """The namespace ends, and nobody empties it: the moment that an operator sees is held still."""
    os.kill(control_plane.pids()["kube-controller-manager"], signal.SIGSTOP)
    await asyncio.to_thread(kubectl, "delete", "namespace", stage.namespace, "--wait=false")
    async with asyncio.timeout(90):
        while True:
            try:
                await stage.kube.create(CONFIG_MAP, config_map(stage.namespace))
            except NamespaceEnding:
                return
            await asyncio.sleep(0.1)


def config_map(namespace: str) -> JsonObject:
    name = f"c-{uuid.uuid4().hex[:10]}"
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}}


async def test_what_is_gone_of_an_ending_namespace_is_neither_restored_nor_complained_of(
    stage: Stage, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    found = await stage.reconcile()
    await end_namespace(stage, control_plane, kubectl)
    for kind, name in ((DEPLOYMENT, "gate"), (SECRET, "gate-hmac-secret"), (CONFIG_MAP, "gate-vmcp-config")):
        await stage.kube.delete(kind, stage.namespace, name)
    assert await stage.reconcile() == found
    assert stage.again is None
    with pytest.raises(NotFound):
        await stage.deployment()


async def test_an_operator_that_was_restarted_makes_nothing_in_an_ending_namespace(
    stage: Stage, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    await end_namespace(stage, control_plane, kubectl)
    await stage.process.resync.fill()
    key = Key(VIRTUAL_MCP_SERVER.plural, stage.namespace, "gate")
    assert await stage.process.reconciler.reconcile(key) is None
    assert list(stage.process.reconciler.known()) == []


async def test_a_pod_template_is_not_blamed_for_an_ending_namespace(
    stage: Stage, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    await stage.change(podTemplateSpec={"spec": {"priorityClassName": "high"}})
    await end_namespace(stage, control_plane, kubectl)
    await stage.process.resync.fill()
    key = Key(VIRTUAL_MCP_SERVER.plural, stage.namespace, "gate")
    assert await stage.process.reconciler.reconcile(key) is None


async def test_a_server_in_an_ending_namespace_is_let_go(
    stage: Stage, control_plane: ControlPlane, kubectl: Kubectl
) -> None:
    await stage.create(MCP_SERVER, samples.server(), "search")
    await end_namespace(stage, control_plane, kubectl)
    await stage.process.resync.fill()
    servers = Servers(kube=stage.kube, cache=stage.process.cache, clock=SystemClock(), proxy_image="example.com/vmcp:1")
    assert await servers.reconcile(Key(MCP_SERVER.plural, stage.namespace, "search")) is None
    status = (await stage.kube.get(MCP_SERVER, stage.namespace, "search")).get("status") or {}
    assert status.get("phase") != "Failed"


async def test_an_event_on_an_object_of_an_ending_namespace_is_nobodys_loss(
    stage: Stage, control_plane: ControlPlane, kubectl: Kubectl, caplog: pytest.LogCaptureFixture
) -> None:
    await end_namespace(stage, control_plane, kubectl)
    recorder = EventRecorder(kube=stage.kube)
    owner: Kind = VIRTUAL_MCP_SERVER
    async with running(recorder):
        for namespace in (stage.namespace, "no-such-namespace"):
            recorder.event(Reference(namespace, "gate", "uid", owner), EventType.NORMAL, "Late", "too late")
        recorder.event(Reference("default", "gate", "uid", owner), EventType.NORMAL, "Kept", "stored")
        await eventually(lambda: recorder.statistics().stored == 1)
    assert recorder.statistics().failed == 0
    assert caplog.records == []
