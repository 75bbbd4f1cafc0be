"""The Lease on a real API server, with a clock of the test's own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from tests.handlers.waiting import until

from vmcp.kube import lease as module
from vmcp.kube.client import Kube, connect
from vmcp.kube.kinds import CONFIG_MAP, LEASE
from vmcp.kube.lease import Lease, LeaseLost
from vmcp_dev.controlplane import ControlPlane


class Now:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.02)


@pytest.fixture
async def kube(control_plane: ControlPlane) -> AsyncIterator[Kube]:
    async with connect(str(control_plane.kubeconfig)) as kube:
        yield kube


class Stand:
    """A namespace in which processes stand for one Lease, all by one clock."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self.now = Now()

    def process(self, identity: str) -> Lease:
        return Lease(kube=self.kube, namespace=self.namespace, name="work", identity=identity, now=self.now)

    async def holder(self) -> str:
        stored = await self.kube.get(LEASE, self.namespace, "work")
        return str(stored["spec"]["holderIdentity"])

    async def waits(self, process: Lease) -> asyncio.Task[None]:
        """The process stands for the Lease, and has seen who holds it."""
        waiting = asyncio.create_task(process.acquire())
        await until(lambda: process._seen[0] or waiting.done())
        return waiting


@pytest.fixture
def stand(kube: Kube, namespace: str) -> Stand:
    return Stand(kube, namespace)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_first_holds_it_and_the_second_waits_until_it_has_seen_no_renewal_for_its_duration(
    stand: Stand,
) -> None:
    first, second = stand.process("first"), stand.process("second")
    await first.acquire()
    assert first.held
    waiting = await stand.waits(second)
    stand.now.seconds += module.DURATION_S - 0.1
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert not first.held, "the holder gives up before anybody else may begin"
    stand.now.seconds += 0.2
    async with asyncio.timeout(30):
        await waiting
    assert second.held
    assert await stand.holder() == "second"


async def test_a_holder_that_renews_keeps_it(stand: Stand) -> None:
    first, second = stand.process("first"), stand.process("second")
    await first.acquire()
    waiting, keeping = await stand.waits(second), asyncio.create_task(first.keep())
    for _ in range(8):
        stand.now.seconds += 5.0
        # Each has done its part at this time: the holder has renewed, and who waits has seen it.
        await until(lambda: first._held_until == stand.now() + module.RENEW_WITHIN_S or keeping.done())
        await until(lambda: second._seen_at == stand.now() or waiting.done())
    assert not waiting.done()
    assert not keeping.done()
    await _cancel(waiting)
    await _cancel(keeping)


async def test_of_many_that_want_a_free_lease_one_gets_it(stand: Stand) -> None:
    everybody = [stand.process(f"process-{number}") for number in range(8)]
    waiting = [asyncio.create_task(process.acquire()) for process in everybody]
    await until(lambda: any(process.held for process in everybody))
    await asyncio.sleep(0.3)
    assert sum(process.held for process in everybody) == 1
    # Released, the rest stand for it again, and again one of them gets it.
    (holder,) = [process for process in everybody if process.held]
    await holder.release()
    await until(lambda: any(process.held for process in everybody))
    await asyncio.sleep(0.3)
    assert sum(process.held for process in everybody) == 1
    for task in waiting:
        await _cancel(task)


async def test_a_released_lease_is_taken_at_once(stand: Stand) -> None:
    first, second = stand.process("first"), stand.process("second")
    await first.acquire()
    await first.release()
    assert not first.held
    async with asyncio.timeout(30):
        await second.acquire()
    assert await stand.holder() == "second"


async def test_a_holder_that_stood_still_for_too_long_finds_it_lost_and_can_write_nothing(stand: Stand) -> None:
    first = stand.process("first")
    await first.acquire()
    writing = stand.kube.fenced(first.check)
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": stand.namespace, "name": "made"},
        "data": {},
    }
    await writing.apply(CONFIG_MAP, body)
    stand.now.seconds += module.RENEW_WITHIN_S
    with pytest.raises(LeaseLost):
        await first.keep()
    with pytest.raises(LeaseLost):
        await writing.delete(CONFIG_MAP, stand.namespace, "made")
    with pytest.raises(LeaseLost):
        await writing.patch(CONFIG_MAP, stand.namespace, "made", {"data": {"a": "b"}})
    assert (await writing.get(CONFIG_MAP, stand.namespace, "made")).get("data") is None
    await first.release()
    assert await stand.holder() == "first", "what is lost is not released"


async def test_somebody_who_only_touches_it_ends_nobody(stand: Stand) -> None:
    first = stand.process("first")
    await first.acquire()
    await stand.kube.patch(LEASE, stand.namespace, "work", {"metadata": {"annotations": {"seen": "yes"}}})
    keeping = asyncio.create_task(first.keep())
    await asyncio.sleep(0.3)
    assert not keeping.done()
    await _cancel(keeping)
    await first.release()
    assert await stand.holder() == ""


async def test_a_lease_that_is_deleted_or_taken_is_lost(stand: Stand) -> None:
    first = stand.process("first")
    await first.acquire()
    await stand.kube.patch(LEASE, stand.namespace, "work", {"spec": {"holderIdentity": "thief"}})
    with pytest.raises(LeaseLost, match="thief holds the Lease"):
        await first.keep()
    assert not first.held

    await stand.kube.delete(LEASE, stand.namespace, "work")
    second = stand.process("second")
    await second.acquire()
    await stand.kube.delete(LEASE, stand.namespace, "work")
    with pytest.raises(LeaseLost, match="deleted"):
        await second.keep()
    assert not second.held


async def test_who_waits_gives_the_holder_of_a_deleted_lease_time_to_find_out(stand: Stand) -> None:
    first, second = stand.process("first"), stand.process("second")
    await first.acquire()
    waiting = await stand.waits(second)
    await stand.kube.delete(LEASE, stand.namespace, "work")
    await asyncio.sleep(0.3)
    assert first.held
    assert not second.held
    with pytest.raises(LeaseLost, match="deleted"):
        await first.keep()
    stand.now.seconds += module.DURATION_S
    async with asyncio.timeout(30):
        await waiting
    assert await stand.holder() == "second"


async def test_an_empty_lease_made_by_hand_is_taken(stand: Stand) -> None:
    metadata = {"namespace": stand.namespace, "name": "work"}
    await stand.kube.create(LEASE, {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata})
    process = stand.process("first")
    async with asyncio.timeout(30):
        await process.acquire()
    stored = await stand.kube.get(LEASE, stand.namespace, "work")
    assert stored["spec"]["leaseDurationSeconds"] == module.DURATION_S
    assert stored["spec"]["renewTime"].endswith("Z"), json.dumps(stored["spec"])
