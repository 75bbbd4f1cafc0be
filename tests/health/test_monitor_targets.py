import asyncio
import random
from dataclasses import replace

import pytest
from tests.health.fakeclock import FakeClock, run
from tests.health.fleet import OK, POLICY, REFUSED, Backends, Fleet, target

from vmcp.health.breaker import EarlyEnd
from vmcp.health.monitor import Change, Monitor
from vmcp.health.outcome import Outcome
from vmcp.health.policy import HealthPolicy
from vmcp.health.snapshot import Circuit, Health, Snapshot
from vmcp.health.target import Target


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_a_removed_target_reports_nowhere(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.takes["a-1"] = 5.0
        fleet.monitor.set_targets("uid", [target("a"), target("b")])
        await asyncio.sleep(2)
        fleet.monitor.set_targets("uid", [target("b")])
        await asyncio.sleep(60)
        assert [snapshot.name for snapshot in fleet.monitor.snapshots("uid")] == ["b"]

    fleet.runs(act)
    assert {change.after.name for change in fleet.changes} == {"b"}
    assert fleet.backends.forgotten == ["a-1"]


def test_not_even_a_check_that_cannot_be_cancelled_reports_for_a_removed_target(fleet: Fleet) -> None:
    async def stubborn(_: Target) -> Outcome:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return REFUSED
        return OK

    async def act() -> None:
        fleet.backends.check = stubborn  # type: ignore[method-assign]
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(2)
        fleet.monitor.set_targets("uid", [])
        await asyncio.sleep(20)

    fleet.runs(act)
    assert fleet.changes == []


def test_a_forgotten_owner_is_forgotten(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        fleet.monitor.set_targets("other", [target("a", fingerprint="a-2")])
        await asyncio.sleep(2)
        fleet.monitor.forget("uid")
        await asyncio.sleep(100)
        assert fleet.monitor.snapshots("uid") == ()
        assert fleet.seen("a", "other").health is Health.HEALTHY
        assert len(fleet.backends.asked["a-1"]) == 1

    fleet.runs(act)


def test_a_changed_target_starts_afresh_while_the_old_ones_check_hangs(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.takes["a-1"] = 1e9
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(20)
        assert fleet.seen("a").consecutive_failures > 0
        fleet.monitor.set_targets("uid", [target("a", url="http://new/mcp", fingerprint="a-2")])
        assert (fleet.seen("a").health, fleet.seen("a").consecutive_failures) == (Health.UNKNOWN, 0)
        await asyncio.sleep(1.1)
        assert fleet.seen("a").health is Health.HEALTHY
        await asyncio.sleep(60)
        assert (fleet.seen("a").health, fleet.seen("a").url) == (Health.HEALTHY, "http://new/mcp")

    fleet.runs(act)


def test_a_changed_target_with_an_open_circuit_is_closed_and_told_of(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a")])
        await fleet.until_open("a")
        fleet.monitor.set_targets("uid", [target("a", fingerprint="a-2")])
        assert fleet.transitions[-1] == (Circuit.OPEN, Circuit.CLOSED)
        assert fleet.seen("a").health is Health.UNKNOWN

    fleet.runs(act)


def test_setting_the_same_targets_again_changes_nothing(fleet: Fleet) -> None:
    async def act() -> None:
        targets = [target("a"), target("b")]
        fleet.monitor.set_targets("uid", targets)
        await asyncio.sleep(5)
        before = fleet.monitor.snapshots("uid")
        for _ in range(100):
            fleet.monitor.set_targets("uid", list(reversed(targets)))
        await asyncio.sleep(20)
        assert fleet.monitor.snapshots("uid") == before
        assert {len(times) for times in fleet.backends.asked.values()} == {1}

    fleet.runs(act)


def test_other_headers_reach_the_backend_anew_and_keep_its_record(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a")])
        opened = await fleet.until_open("a")
        fleet.monitor.set_targets("uid", [target("a", headers=(("X-Team", "search"),))])
        assert fleet.backends.forgotten == ["a-1"]
        assert fleet.seen("a") == opened
        asked = len(fleet.backends.asked["a-1"])
        await asyncio.sleep(30)
        assert len(fleet.backends.asked["a-1"]) == asked

    fleet.runs(act)


def test_a_shorter_interval_counts_from_now(fleet: Fleet) -> None:
    async def act() -> None:
        slow = target("a", policy=replace(POLICY, interval_s=86_400.0))
        fleet.monitor.set_targets("uid", [slow])
        await asyncio.sleep(10)
        fleet.monitor.set_targets("uid", [target("a", policy=replace(POLICY, interval_s=5.0))])
        await asyncio.sleep(60)
        assert len(fleet.backends.asked["a-1"]) >= 10

    fleet.runs(act)


def test_a_breaker_switched_off_closes_at_once(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a")])
        await fleet.until_open("a")
        fleet.monitor.set_targets("uid", [target("a", policy=HealthPolicy())])
        assert (fleet.seen("a").circuit, fleet.seen("a").health) == (Circuit.CLOSED, Health.UNHEALTHY)
        fleet.backends.answers.clear()
        await asyncio.sleep(31)
        assert fleet.seen("a").health is Health.HEALTHY

    fleet.runs(act)


def test_what_may_never_be_called_is_never_checked(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a", never_call="xaa is not supported")])
        fleet.monitor.probe_now("uid", "a")
        fleet.monitor.end_open_time("uid", "a", EarlyEnd.RESET)
        await asyncio.sleep(100)
        assert fleet.seen("a").health is Health.UNAUTHENTICATED
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(2)
        assert fleet.seen("a").health is Health.HEALTHY

    fleet.runs(act)


def test_another_target_under_an_old_name_is_not_recalled(fleet: Fleet) -> None:
    async def act() -> None:
        old = Snapshot("a", "http://old/mcp", "a-0", Health.UNHEALTHY, Circuit.OPEN, open_until=9e9)
        fleet.monitor.set_targets("uid", [target("a")], {"a": old})
        assert (fleet.seen("a").health, fleet.seen("a").circuit) == (Health.UNKNOWN, Circuit.CLOSED)

    fleet.runs(act)


def test_what_is_known_is_not_overwritten_by_what_the_status_said(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(2)
        stale = Snapshot("a", "http://a:8080/mcp", "a-1", Health.UNHEALTHY, Circuit.OPEN, open_until=9e9)
        fleet.monitor.set_targets("uid", [target("a")], {"a": stale})
        assert fleet.seen("a").health is Health.HEALTHY

    fleet.runs(act)


def test_targets_may_be_changed_from_within_the_callback() -> None:
    backends = Backends()
    heard: list[Change] = []
    monitor: Monitor

    def changed(change: Change) -> None:
        heard.append(change)
        monitor.forget("uid")

    monitor = Monitor(check=backends, changed=changed, clock=FakeClock(), rng=random.Random(7))

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(monitor.run())
            monitor.set_targets("uid", [target("a")])
            await asyncio.sleep(100)
            loop.cancel()

    run(scenario())
    assert len(heard) == 1
