"""The status writer on a real API server: when it writes, and that it is silent otherwise."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.integration.statusworld import HEALTHY, World, eventually, make_world, ready, running

from vmcp.api.category import ErrorCategory
from vmcp.api.kinds import VIRTUAL_MCP_SERVER
from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition
from vmcp.kube.client import Kube, connect
from vmcp.status.findings import Findings
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def world(kube: Kube, namespace: str) -> World:
    return await make_world(kube, namespace)


async def test_a_new_object_gets_its_whole_status_at_once(world: World) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        status = await world.until(lambda status: ready(status) == "True")

    assert status["phase"] == "Ready"
    assert status["backendCount"] == 1
    assert status["observedGeneration"] == 1
    assert status["lastReportTime"]
    assert status["discoveredBackends"][0]["targetFingerprint"] == "f1"
    managers = {field["manager"] for field in (await world.stored())["metadata"]["managedFields"]}
    assert "vmcp-operator" in managers


async def test_kubectl_sees_a_ready_object(world: World, kubectl: Kubectl) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        await asyncio.to_thread(
            kubectl, "-n", world.namespace, "wait", "vmcp/gate", "--for=condition=Ready", "--timeout=60s"
        )
        table = await asyncio.to_thread(kubectl, "-n", world.namespace, "get", "vmcp", "gate", "-o", "wide")

    assert "1 of 1 backend routable" in table


async def test_what_rides_along_is_not_written_until_there_is_news(world: World) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        quiet = await world.version()
        for number in range(10):
            world.backends = (
                replace(HEALTHY, consecutive_failures=number, latency_s=number, last_check_at=1e9 + number),
            )
            world.writer.report(world.uid)
            await world.turns(1)
        assert await world.version() == quiet

        world.backends = (replace(world.backends[0], category=ErrorCategory.TIMEOUT),)
        world.writer.report(world.uid)
        status = await world.until(lambda status: "errorCategory" in status["discoveredBackends"][0])

        await eventually(lambda: len(world.written) >= 2)

    assert status["discoveredBackends"][0]["consecutiveFailures"] == 9
    assert len(world.written) == 2


async def test_a_storm_of_reports_is_at_most_one_write_a_second_and_ends_with_the_last_state(world: World) -> None:
    moments: list[float] = []
    world.writer._on_written = lambda uid, obj: moments.append(time.monotonic())
    async with running(world.writer):
        started = time.monotonic()
        while time.monotonic() - started < 3.0:
            world.backends = (replace(HEALTHY, reopen_count=len(moments), mcp_revision=f"r{time.monotonic()}"),)
            world.writer.report(world.uid)
            await asyncio.sleep(0.002)
        last = world.backends[0].mcp_revision
        await world.until(lambda status: status["discoveredBackends"][0].get("mcpRevision") == last)

    # A write is stamped when it is answered, so the gaps seen vary by how long answers take; the count does not.
    assert 2 <= len(moments) <= moments[-1] - started + 2


async def test_a_write_between_read_and_write_is_a_conflict_that_is_resolved(world: World, kubectl: Kubectl) -> None:
    async with running(world.writer):
        world.writer.seen(world.uid, world.obj)
        await asyncio.to_thread(kubectl, "-n", world.namespace, "label", "vmcp/gate", "touched=yes")
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")

    assert (await world.stored())["metadata"]["labels"] == {"touched": "yes"}
    assert world.writer.statistics().conflicts == 1


async def test_a_status_changed_by_another_hand_is_put_right(world: World, kubectl: Kubectl) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        await world.another_hand(kubectl, {"phase": "Failed", "backendCount": 77})
        world.writer.seen(world.uid, await world.stored())
        status = await world.until(lambda status: status["phase"] == "Ready")

    assert status["backendCount"] == 1


async def test_what_another_manager_holds_does_not_make_it_write_forever(world: World, kubectl: Kubectl) -> None:
    await world.another_hand(kubectl, {"discoveredBackends": [{"name": "left-by-another", "status": "ready"}]})
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        quiet = await world.version()
        for _ in range(5):
            world.writer.seen(world.uid, await world.stored())
            world.writer.report(world.uid)
            await world.turns(1)

    assert await world.version() == quiet
    assert len(world.written) == 1


async def test_a_restart_on_an_unchanged_object_writes_nothing(world: World) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
    quiet = await world.stored()

    again = World(world.kube, quiet)
    async with running(again.writer):
        again.writer.seen(again.uid, quiet)
        for _ in range(10):
            again.writer.report(again.uid)
            await again.turns(1)

    assert await world.version() == quiet["metadata"]["resourceVersion"]


async def test_the_heartbeat_is_written_though_nothing_is_new(world: World) -> None:
    assert world.findings is not None
    world.findings = replace(world.findings, heartbeat_s=2.0)
    async with running(world.writer):
        world.writer.report(world.uid)
        first = await world.until(lambda status: ready(status) == "True")
        second = await world.until(lambda status: status["lastReportTime"] != first["lastReportTime"])
        await eventually(lambda: world.writer.statistics().heartbeats >= 1)

    assert second["conditions"] == first["conditions"]


async def test_the_last_state_is_written_after_the_api_server_was_away(
    world: World, control_plane: ControlPlane
) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        await asyncio.to_thread(control_plane.stop_apiserver)
        try:
            for health in (Health.DEGRADED, Health.UNHEALTHY):
                world.backends = (replace(HEALTHY, health=health),)
                world.writer.report(world.uid)
            await eventually(lambda: world.writer.statistics().retries >= 2)
        finally:
            await asyncio.to_thread(control_plane.start_apiserver)
        status = await world.until(lambda status: status["phase"] == "Failed")

    assert status["discoveredBackends"][0]["status"] == "unavailable"


async def test_a_deleted_object_is_forgotten_and_its_successor_is_left_alone(world: World) -> None:
    async with running(world.writer):
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")
        await world.kube.delete(VIRTUAL_MCP_SERVER, world.namespace, world.name)
        metadata = {"namespace": world.namespace, "name": world.name}
        await world.kube.create(
            VIRTUAL_MCP_SERVER,
            {key: world.obj[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": metadata},
        )
        world.backends = ()
        world.writer.report(world.uid)
        await eventually(lambda: world.writer.statistics().objects == 0)

    assert "conditions" not in (await world.stored()).get("status", {})


async def test_a_late_report_keeps_nothing_of_an_object_that_is_gone(world: World) -> None:
    async with running(world.writer):
        world.findings = None
        world.writer.report(world.uid)
        await eventually(lambda: world.writer.statistics().objects == 0)

    assert not world.written


async def test_one_object_that_cannot_be_composed_disturbs_no_other(world: World) -> None:
    composed = world.writer._compose

    def compose(uid: str) -> Findings | None:
        if uid == "broken":
            raise RuntimeError("a bug in one object's reconcile")
        return composed(uid)

    world.writer._compose = compose
    async with running(world.writer):
        world.writer.report("broken")
        world.writer.report(world.uid)
        await world.until(lambda status: ready(status) == "True")

    assert world.writer.statistics().retries >= 1


async def test_a_thousand_backends_fit_into_one_status(world: World) -> None:
    transitions = tuple(Transition(1.79e9, Circuit.CLOSED, Circuit.OPEN, "r" * 300) for _ in range(5))
    world.backends = tuple(
        Snapshot(
            f"backend-{number:04}",
            f"http://backend-{number:04}.some-namespace.svc.cluster.local:8080/mcp",
            "0123456789abcdef",
            Health.UNHEALTHY,
            Circuit.OPEN,
            circuit_changed_at=1.79e9,
            open_until=1.79e9,
            reopen_count=3,
            consecutive_failures=12,
            last_check_at=1.79e9,
            latency_s=0.1,
            category=ErrorCategory.CONNECT,
            mcp_revision="2025-11-25",
            detail="d" * 500,
            transitions=transitions,
        )
        for number in range(1000)
    )
    async with running(world.writer):
        world.writer.report(world.uid)
        status = await world.until(lambda status: len(status.get("discoveredBackends", ())) == 1000)

    assert {backend["circuitBreakerState"] for backend in status["discoveredBackends"]} == {"open"}
