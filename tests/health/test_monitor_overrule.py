"""What a person overrules, seen at the monitor, in fast-forward."""

import asyncio
from dataclasses import replace

import pytest
from tests.health.fakeclock import EPOCH
from tests.health.fleet import OK, POLICY, REFUSED, Fleet, now, target

from vmcp.api.operational import OverrideMode
from vmcp.health.breaker import EarlyEnd
from vmcp.health.policy import HealthPolicy, Overrule
from vmcp.health.snapshot import Circuit, Health, Snapshot, usable
from vmcp.health.tracker import REACHABLE_ELSEWHERE


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def ordered(mode: OverrideMode, until: float | None = None) -> HealthPolicy:
    return replace(POLICY, overrule=Overrule(mode, until))


def told(fleet: Fleet) -> list[OverrideMode | None]:
    """Every beginning, change and end of an override that the monitor told of."""
    return [
        change.after.override and change.after.override.mode
        for change in fleet.changes
        if change.before.override != change.after.override
    ]


def test_forced_open_is_not_checked_and_is_tried_exactly_when_its_time_is_over(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(40)
        asked = len(fleet.backends.asked["a-1"])
        until = fleet.clock.wall() + 700.25
        fleet.monitor.set_targets("uid", [target("a", policy=ordered(OverrideMode.FORCED_OPEN, until))])
        assert fleet.seen("a").circuit is Circuit.OPEN
        fleet.monitor.end_open_time("uid", "a", EarlyEnd.RESET)
        await asyncio.sleep(1400)
        trial = fleet.backends.asked["a-1"][asked]
        assert trial + EPOCH == pytest.approx(until, abs=0.01)
        assert fleet.seen("a").health is Health.HEALTHY

    fleet.runs(act)
    assert fleet.transitions == [
        (Circuit.CLOSED, Circuit.OPEN),
        (Circuit.OPEN, Circuit.HALF_OPEN),
        (Circuit.HALF_OPEN, Circuit.CLOSED),
    ]
    assert told(fleet) == [OverrideMode.FORCED_OPEN, None]


def test_an_order_taken_back_is_followed_by_a_check_at_once(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a", policy=ordered(OverrideMode.FORCED_OPEN))])
        await asyncio.sleep(10_000)
        assert not fleet.backends.asked["a-1"]
        taken_back = now()
        fleet.monitor.set_targets("uid", [target("a")])
        assert fleet.seen("a").circuit is Circuit.HALF_OPEN
        await asyncio.sleep(1)
        assert fleet.backends.asked["a-1"] == [taken_back]
        assert usable(fleet.seen("a"))

    fleet.runs(act)


def test_forced_closed_is_checked_on_and_its_end_is_looked_at_when_it_comes(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        until = fleet.clock.wall() + 100.5
        fleet.monitor.set_targets("uid", [target("a", policy=ordered(OverrideMode.FORCED_CLOSED, until))])
        await asyncio.sleep(100)
        seen = fleet.seen("a")
        assert (seen.circuit, seen.health) == (Circuit.CLOSED, Health.UNHEALTHY)
        assert usable(seen)
        await asyncio.sleep(1)
        assert fleet.seen("a").override is None
        assert fleet.seen("a").circuit is Circuit.OPEN
        assert fleet.backends.asked["a-1"][-1] + EPOCH == pytest.approx(until, abs=0.01)

    fleet.runs(act)
    assert told(fleet) == [OverrideMode.FORCED_CLOSED, None]


def test_a_restart_neither_ends_nor_repeats_an_order(fleet: Fleet) -> None:
    policy = ordered(OverrideMode.FORCED_OPEN)

    async def first() -> None:
        fleet.monitor.set_targets("uid", [target("a", policy=policy)])

    fleet.runs(first)
    before = fleet.seen("a")
    again = Fleet()

    async def second() -> None:
        again.monitor.set_targets("uid", [target("a", policy=policy)], {"a": before})
        await asyncio.sleep(1000)
        assert again.seen("a") == before
        assert not again.backends.asked["a-1"]

    again.runs(second)
    assert not again.changes


def test_an_order_for_a_backend_that_is_new_is_told(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a", policy=ordered(OverrideMode.DISABLED))])

    fleet.runs(act)
    assert told(fleet) == [OverrideMode.DISABLED]


def test_a_backend_that_a_gateway_reaches_and_we_do_not_says_so_while_that_is_fresh(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a"), target("b")])
        await asyncio.sleep(2)
        fleet.backends.answers["a-1"] = REFUSED
        await fleet.until_open("a")
        for name in ("a", "b", "no such backend"):
            fleet.monitor.reported_reachable("uid", name, now() + 30)
        assert fleet.seen("a").detail == f"connection refused; {REACHABLE_ELSEWHERE}"
        assert fleet.seen("b").detail == ""
        await asyncio.sleep(400)
        assert fleet.seen("a").detail == "connection refused"
        fleet.backends.answers["a-1"] = OK

    fleet.runs(act)


def test_an_override_that_is_recalled_without_its_target_is_not_believed(fleet: Fleet) -> None:
    foreign = Snapshot("a", "", "another")

    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")], {"a": foreign})
        assert fleet.seen("a").override is None

    fleet.runs(act)
