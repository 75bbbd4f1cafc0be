import asyncio
import itertools
from collections import Counter

import pytest
from tests.health.fakeclock import FakeClock, stand_still
from tests.health.fleet import REFUSED, Fleet, now, target

from vmcp.api.category import ErrorCategory
from vmcp.health.breaker import EarlyEnd
from vmcp.health.monitor import SETTLES_S
from vmcp.health.outcome import Outcome
from vmcp.health.snapshot import Circuit, Health, Snapshot


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_backends_are_known_within_a_second_sorted_by_name(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target(name) for name in ("b", "c", "a")])
        assert {snapshot.health for snapshot in fleet.monitor.snapshots("uid")} == {Health.UNKNOWN}
        await asyncio.sleep(1.1)
        assert [(s.name, s.health) for s in fleet.monitor.snapshots("uid")] == [
            ("a", Health.HEALTHY),
            ("b", Health.HEALTHY),
            ("c", Health.HEALTHY),
        ]

    fleet.runs(act)


def test_first_checks_of_many_are_spread(fleet: Fleet) -> None:
    async def act() -> None:
        for owner in range(500):
            fleet.monitor.set_targets(str(owner), [target(f"{owner}-{number}") for number in range(10)])
        await asyncio.sleep(31)

    fleet.runs(act)
    firsts = Counter(int(times[0] * 10) for times in fleet.backends.asked.values())
    assert firsts.total() == 5000
    assert max(firsts.values()) < 500


def test_an_open_circuit_is_tried_exactly_when_its_time_is_over(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a")])
        seen = await fleet.until_open("a")
        assert seen.open_until is not None
        asked = len(fleet.backends.asked["a-1"])
        await asyncio.sleep(400)
        trial = fleet.backends.asked["a-1"][asked]
        assert trial == pytest.approx(seen.open_until - fleet.clock.wall() + now(), abs=1e-6)

    fleet.runs(act)


def test_the_circle_is_told_step_by_step(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a"), target("b")])
        await fleet.until_open("a")
        fleet.backends.answers.clear()
        await asyncio.sleep(120)
        assert fleet.seen("a").health is Health.HEALTHY

    fleet.runs(act)
    assert fleet.transitions == [
        (Circuit.CLOSED, Circuit.OPEN),
        (Circuit.OPEN, Circuit.HALF_OPEN),
        (Circuit.HALF_OPEN, Circuit.CLOSED),
    ]
    story = [change for change in fleet.changes if change.after.name == "a"]
    assert all(earlier.after == later.before for earlier, later in itertools.pairwise(story))


def test_while_open_nothing_is_sent_and_a_wish_for_a_check_does_not_open_the_way(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a")])
        await fleet.until_open("a")
        asked = len(fleet.backends.asked["a-1"])
        for _ in range(50):
            fleet.monitor.probe_now("uid", "a")
            await asyncio.sleep(1)
        assert len(fleet.backends.asked["a-1"]) == asked

    fleet.runs(act)


@pytest.mark.parametrize("cause", [cause for cause in EarlyEnd if cause is not EarlyEnd.TARGET_READY])
def test_a_named_cause_tries_it_at_once(fleet: Fleet, cause: EarlyEnd) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a")])
        await fleet.until_open("a")
        fleet.backends.answers.clear()
        fleet.monitor.end_open_time("uid", "a", cause)
        assert fleet.changes[-1].transition is not None
        assert fleet.changes[-1].transition.reason == cause.value
        await asyncio.sleep(0.01)
        assert fleet.seen("a").circuit is Circuit.CLOSED

    fleet.runs(act)


def test_a_target_that_became_ready_is_tried_when_its_service_leads_there(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.set_targets("uid", [target("a")])
        await fleet.until_open("a")
        fleet.monitor.end_open_time("uid", "a", EarlyEnd.TARGET_READY)
        await asyncio.sleep(SETTLES_S / 2)
        assert fleet.seen("a").circuit is Circuit.HALF_OPEN
        fleet.backends.answers.clear()
        await asyncio.sleep(SETTLES_S)
        assert fleet.seen("a").circuit is Circuit.CLOSED

    fleet.runs(act)


def test_probe_now_checks_now(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(5)
        fleet.monitor.probe_now("uid", "a")
        fleet.monitor.probe_now("uid", "no such backend")
        await asyncio.sleep(0.01)
        assert len(fleet.backends.asked["a-1"]) == 2

    fleet.runs(act)


def test_a_hung_check_costs_its_timeout_and_the_trial_it_was_has_failed(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.takes["a-1"] = 1e9
        fleet.monitor.set_targets("uid", [target("a")])
        seen = await fleet.until_open("a")
        assert now() < 1000 + 1 + 65
        assert (seen.category, seen.detail) == (ErrorCategory.TIMEOUT, "no complete answer within 10s")
        await asyncio.sleep(100)
        assert fleet.seen("a").reopen_count == 1

    fleet.runs(act)


def test_a_fault_in_the_check_says_nothing_of_the_backend(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    async def act() -> None:
        fleet.backends.answers["a-1"] = ZeroDivisionError()
        fleet.monitor.set_targets("uid", [target("a"), target("b")])
        await asyncio.sleep(200)
        assert fleet.seen("a").health is Health.UNKNOWN
        assert fleet.seen("b").health is Health.HEALTHY
        assert len(fleet.backends.asked["a-1"]) > 5

    fleet.runs(act)
    assert "a fault in the check of backend a" in caplog.text


def test_ten_quiet_minutes_find_nothing_new(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(600)

    fleet.runs(act)
    assert 18 <= len(fleet.backends.asked["a-1"]) <= 23
    facts = {(c.after.health, c.after.circuit, c.after.category, c.after.detail) for c in fleet.changes}
    assert facts == {(Health.HEALTHY, Circuit.CLOSED, None, "")}


def test_a_process_that_stood_still_blames_no_backend(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.backends.takes["a-1"] = 5.0
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(1.5)
        stand_still(60.0)
        fleet.backends.answers["a-1"] = Outcome(ErrorCategory.TIMEOUT)
        await asyncio.sleep(0.1)
        assert (fleet.seen("a").health, fleet.seen("a").consecutive_failures) == (Health.UNKNOWN, 0)

    fleet.runs(act)


def test_a_restart_with_an_open_circuit_waits_out_what_is_left() -> None:
    first = Fleet()
    statuses: dict[str, Snapshot] = {}

    async def before() -> None:
        first.backends.answers["a-1"] = REFUSED
        first.monitor.set_targets("uid", [target("a"), target("b")])
        statuses["a"] = await first.until_open("a")

    first.runs(before)
    second = Fleet(FakeClock(skew_s=25.0))

    async def after() -> None:
        second.monitor.set_targets("uid", [target("a"), target("b")], statuses)
        assert second.seen("a") == statuses["a"]
        started = now()
        await asyncio.sleep(400)
        open_until = statuses["a"].open_until
        assert open_until is not None
        left = open_until - (second.clock.wall() - now() + started)
        assert second.backends.asked["a-1"][0] == pytest.approx(started + left, abs=1e-5)

    second.runs(after)
