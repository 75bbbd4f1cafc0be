"""The status writer behind an API server that refuses, delays and loses: the last state arrives, without a storm."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.faultyproxy import Fault, FaultyProxy, faulty_proxy
from tests.integration.statusworld import HEALTHY, World, eventually, make_world, ready, running

from vmcp.health.snapshot import Health
from vmcp.kube.client import Kube, connect
from vmcp.status.findings import DeploymentState, Findings
from vmcp.status.writer import CONCURRENT_WRITES, StatusWriter
from vmcp_dev.controlplane import ControlPlane


@pytest.fixture
async def proxy(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(control_plane, tmp_path / "kubeconfig") as proxy:
        yield proxy


@pytest.fixture
async def kube(proxy: FaultyProxy, tmp_path: Path, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(tmp_path / "kubeconfig")) as kube:
        yield kube


@pytest.fixture
async def world(kube: Kube, namespace: str) -> World:
    return await make_world(kube, namespace)


async def test_the_api_servers_wish_to_wait_is_honoured(world: World, proxy: FaultyProxy) -> None:
    proxy.faults.append(Fault(429, {"Retry-After": "2"}))
    async with running(world.writer):
        world.writer.report(world.uid)
        await eventually(lambda: len(proxy.patches) == 1)
        for _ in range(20):
            world.writer.report(world.uid)
            await asyncio.sleep(0.02)
        await world.until(lambda status: ready(status) == "True")

    refused, taken = proxy.patches
    assert taken - refused >= 2.0


async def test_server_errors_are_retried_ever_later_until_the_last_state_is_written(
    world: World, proxy: FaultyProxy
) -> None:
    proxy.faults.extend([Fault(500), Fault(503), Fault(504)])
    async with running(world.writer):
        world.writer.report(world.uid)
        await eventually(lambda: len(proxy.patches) == 1)
        world.backends = (replace(HEALTHY, health=Health.UNHEALTHY),)
        world.writer.report(world.uid)
        await world.until(lambda status: status.get("phase") == "Failed")

    assert len(proxy.patches) == 4
    assert world.writer.statistics().retries == 3


async def test_a_write_whose_answer_is_lost_is_not_written_twice(world: World, proxy: FaultyProxy) -> None:
    proxy.faults.append(Fault(lose_answer=True))
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        version = await world.version()
        await eventually(lambda: world.writer.statistics().suppressed >= 1)

    assert await world.version() == version
    assert world.writer.statistics().retries == 1


async def test_many_objects_at_once_are_few_writes_at_a_time(kube: Kube, namespace: str, proxy: FaultyProxy) -> None:
    worlds = [await make_world(kube, namespace, f"gate-{number}") for number in range(40)]
    findings = {
        world.uid: Findings(namespace, world.name, world.uid, 1, deployment=DeploymentState.AVAILABLE)
        for world in worlds
    }
    writer = StatusWriter(kube=kube, compose=findings.get, snapshots=lambda uid: (HEALTHY,))
    proxy.delay_s = 0.05
    async with running(writer):
        for world in worlds:
            writer.seen(world.uid, world.obj)
            writer.report(world.uid)
        await eventually(lambda: writer.statistics().writes == 40)

    assert proxy.most_at_once <= CONCURRENT_WRITES
    assert len(proxy.patches) == 40


async def test_a_clean_stop_writes_what_the_gap_held_back(world: World, proxy: FaultyProxy) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        world.backends = (replace(HEALTHY, health=Health.UNHEALTHY),)
        world.writer.report(world.uid)
    await world.writer.drain(timeout_s=60.0)

    assert (await world.stored())["status"]["phase"] == "Failed"
