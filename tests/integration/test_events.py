"""Events on a real API server, as kubectl shows them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.integration.statusworld import HEALTHY, World, eventually, make_world, running

from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition
from vmcp.kube.client import Kube, connect
from vmcp.status.events import EventRecorder, EventType, Reference
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl


@pytest.fixture
async def kube(control_plane: ControlPlane, crds: None) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


@pytest.fixture
async def world(kube: Kube, namespace: str) -> World:
    return await make_world(kube, namespace)


async def test_kubectl_describe_shows_the_events_of_a_circuit(world: World, kubectl: Kubectl) -> None:
    recorder = EventRecorder(kube=world.kube, instance="operator-0")
    about = Reference(world.namespace, world.name, world.uid)
    opened = replace(HEALTHY, health=Health.UNHEALTHY, circuit=Circuit.OPEN, open_until=1795514400.0)
    steps: list[tuple[Snapshot, Transition]] = [
        (opened, Transition(1.79e9, Circuit.CLOSED, Circuit.OPEN, "5 consecutive failures: connection refused")),
        (HEALTHY, Transition(1.79e9, Circuit.OPEN, Circuit.HALF_OPEN, "open time over")),
        (HEALTHY, Transition(1.79e9, Circuit.HALF_OPEN, Circuit.CLOSED, "trial succeeded")),
    ]
    async with running(recorder):
        for snapshot, transition in steps:
            recorder.transition(about, snapshot, transition)
        recorder.event(about, EventType.NORMAL, "Reconciled", "m" * 5000)
        await eventually(lambda: recorder.statistics().stored >= 4)
        text = await asyncio.to_thread(kubectl, "-n", world.namespace, "describe", "vmcp", "gate")

    events = text[text.index("Events:") :]
    assert "CircuitOpened" in events
    assert (
        "backend search: circuit closed -> open, 5 consecutive failures: connection refused; "
        "open until 2026-11-24T10:00:00Z"
    ) in events
    assert "CircuitHalfOpen" in events
    assert "CircuitClosed" in events
    assert "<unknown>" not in events


async def test_an_event_that_cannot_be_stored_is_counted_and_holds_up_no_other(world: World) -> None:
    recorder = EventRecorder(kube=world.kube)
    async with running(recorder):
        recorder.event(Reference(world.namespace, "not/valid", "u"), EventType.NORMAL, "Lost", "never stored")
        recorder.event(Reference(world.namespace, world.name, world.uid), EventType.NORMAL, "Kept", "stored")
        await eventually(lambda: recorder.statistics().stored == 1)

    assert recorder.statistics().failed == 1


async def test_a_full_queue_drops_the_oldest(world: World) -> None:
    recorder = EventRecorder(kube=world.kube)
    about = Reference(world.namespace, world.name, world.uid)

    for number in range(1007):
        recorder.event(about, EventType.NORMAL, "Many", f"number {number}")

    assert recorder.statistics().dropped == 7
