"""What gateways say of a backend makes checks due, and nothing more."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from tests.health.fleet import OK, POLICY, REFUSED, Fleet, now, target

from vmcp.api.category import ErrorCategory
from vmcp.health.breaker import EarlyEnd
from vmcp.health.hearsay import REPORT_LATE_S, SUSPECT_AGAIN_S, SUSPECT_PAUSE_S
from vmcp.health.outcome import Outcome
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.snapshot import Circuit, Health, usable
from vmcp.health.tracker import REACHABLE_ELSEWHERE, WITHHELD
from vmcp.mcp.transport import Peer


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_a_suspected_backend_that_fails_opens_in_a_row_of_quick_checks(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(5)
        fleet.backends.answers["a-1"] = REFUSED
        began = now()
        fleet.monitor.suspect("uid", "a", "a-1")
        await fleet.until_open("a")
        assert now() - began < 1.1
        checks = [at for at in fleet.backends.asked["a-1"] if at >= began]
        assert len(checks) == POLICY.breaker.failure_threshold
        assert gaps(checks) == pytest.approx([SUSPECT_PAUSE_S] * 4, abs=0.02)
        fleet.monitor.suspect("uid", "a", "a-1")
        await asyncio.sleep(50)
        assert fleet.seen("a").circuit is Circuit.OPEN
        assert len(fleet.backends.asked["a-1"]) == 1 + len(checks)

    fleet.runs(act)


def test_a_suspected_backend_that_answers_is_checked_once(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(5)
        fleet.monitor.suspect("uid", "a", "a-1")
        await asyncio.sleep(10)
        assert len(fleet.backends.asked["a-1"]) == 2
        assert fleet.seen("a").health is Health.HEALTHY

    fleet.runs(act)


@pytest.mark.parametrize(
    "outcome", [Outcome(ErrorCategory.OVERLOADED, retry_after_s=60.0), Outcome(ErrorCategory.CANCELLED)]
)
def test_what_is_no_failure_ends_the_row(fleet: Fleet, outcome: Outcome) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(5)
        fleet.backends.answers["a-1"] = outcome
        fleet.monitor.suspect("uid", "a", "a-1")
        await asyncio.sleep(1.9)
        assert len(fleet.backends.asked["a-1"]) == 2

    fleet.runs(act)


def test_a_backend_that_a_gateway_withholds_is_out_for_a_while_and_both_is_told(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a", auth_configured=True)])
        await asyncio.sleep(5)
        before = fleet.seen("a")
        fleet.monitor.reported_withheld("uid", "a", now() + 100.0, fingerprint="another")
        assert fleet.seen("a") == before
        fleet.monitor.reported_withheld("uid", "a", now() + 100.0, fingerprint="a-1")
        out = fleet.seen("a")
        assert (out.health, out.detail, usable(out)) == (Health.UNAUTHENTICATED, WITHHELD, False)
        assert replace(out, health=before.health, detail=before.detail) == before
        assert (fleet.changes[-1].before, fleet.changes[-1].after) == (before, out)
        told = len(fleet.changes)
        fleet.monitor.reported_withheld("uid", "a", now() + 100.0, fingerprint="a-1")
        assert len(fleet.changes) == told
        await asyncio.sleep(200)
        assert (fleet.seen("a").health, fleet.seen("a").detail) == (Health.HEALTHY, "")
        assert (Health.UNAUTHENTICATED, Health.HEALTHY) in [(c.before.health, c.after.health) for c in fleet.changes]

    fleet.runs(act)


def test_a_gateways_word_takes_out_no_backend_whose_headers_are_known(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a"), target("b", auth_configured=True, never_call="cannot")])
        await asyncio.sleep(5)
        before = fleet.monitor.snapshots("uid")
        for name in ("a", "b"):
            fleet.monitor.reported_withheld("uid", name, now() + 100.0, fingerprint=f"{name}-1")
        assert fleet.monitor.snapshots("uid") == before

    fleet.runs(act)


def test_a_backend_that_is_withheld_and_fails_is_shown_as_it_fails(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a", auth_configured=True)])
        await asyncio.sleep(5)
        fleet.monitor.reported_withheld("uid", "a", now() + 1000.0, fingerprint="a-1")
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.probe_now("uid", "a")
        await fleet.until_open("a")
        assert fleet.seen("a").health is Health.UNHEALTHY
        assert WITHHELD in fleet.seen("a").detail

    fleet.runs(act)


def test_a_changed_certificate_forgets_nothing_of_what_a_gateway_withholds(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a", auth_configured=True)])
        await asyncio.sleep(5)
        fleet.monitor.reported_withheld("uid", "a", now() + 100.0, fingerprint="a-1")
        fleet.monitor.set_targets("uid", [target("a", auth_configured=True, peer=Peer(ca_pem="another"))])
        await asyncio.sleep(5)
        assert fleet.seen("a").health is Health.UNAUTHENTICATED

    fleet.runs(act)


def test_whatever_is_said_checks_are_bounded(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a"), target("b", policy=HealthPolicy())])
        await asyncio.sleep(5)
        fleet.backends.answers["b-1"] = REFUSED
        before = {name: len(times) for name, times in fleet.backends.asked.items()}
        for _ in range(1000):
            fleet.monitor.suspect("uid", "a", "a-1")
            fleet.monitor.suspect("uid", "b", "b-1")
            await asyncio.sleep(0.01)
        asked = {name: len(times) - before[name] for name, times in fleet.backends.asked.items()}
        assert asked["a-1"] <= 10 / SUSPECT_AGAIN_S + 2
        # Five in a row, then a pause.
        assert asked["b-1"] <= 5 * 10 / (4 * SUSPECT_PAUSE_S + SUSPECT_AGAIN_S) + 5

    fleet.runs(act)


def test_a_suspicion_that_comes_soon_after_another_is_put_off_and_not_lost(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(5)
        fleet.monitor.suspect("uid", "a", "a-1")
        await asyncio.sleep(0.2)
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.suspect("uid", "a", "a-1")
        began = now()
        await fleet.until_open("a")
        assert now() - began < SUSPECT_AGAIN_S + 1.1

    fleet.runs(act)


def test_after_the_row_the_pace_is_the_policys_again(fleet: Fleet) -> None:
    async def act() -> None:
        policy = replace(POLICY, breaker=BreakerPolicy(enabled=False, failure_threshold=2), unhealthy_threshold=10)
        fleet.monitor.set_targets("uid", [target("a", policy=policy)])
        await asyncio.sleep(5)
        fleet.backends.answers["a-1"] = REFUSED
        fleet.monitor.suspect("uid", "a", "a-1")
        await asyncio.sleep(5)
        assert gaps(fleet.backends.asked["a-1"])[1:3] == pytest.approx([SUSPECT_PAUSE_S, 2.1], abs=0.11)

    fleet.runs(act)


def test_another_target_an_unknown_one_and_one_that_is_never_called_are_left_alone(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a"), target("b", never_call="outgoing auth is not supported")])
        await asyncio.sleep(5)
        for owner, name, fingerprint in (
            ("uid", "a", "of an older target"),
            ("uid", "no such backend", "a-1"),
            ("no such owner", "a", "a-1"),
            ("uid", "b", "b-1"),
        ):
            fleet.monitor.suspect(owner, name, fingerprint)
        await asyncio.sleep(3)
        assert len(fleet.backends.asked["a-1"]) == 1
        assert not fleet.backends.asked["b-1"]

    fleet.runs(act)


def test_a_half_open_circuit_is_tried_in_its_own_time(fleet: Fleet) -> None:
    async def act() -> None:
        policy = replace(POLICY, breaker=BreakerPolicy(enabled=True, success_threshold=3))
        fleet.monitor.set_targets("uid", [target("a", policy=policy)])
        fleet.backends.answers["a-1"] = REFUSED
        await fleet.until_open("a")
        fleet.backends.answers["a-1"] = OK
        while fleet.seen("a").circuit is not Circuit.HALF_OPEN:  # noqa: ASYNC110 - as a user would look
            await asyncio.sleep(0.1)
        fleet.monitor.suspect("uid", "a", "a-1")
        await asyncio.sleep(10)
        assert min(gaps(fleet.backends.asked["a-1"])[-2:]) >= 2.0

    fleet.runs(act)


def test_a_gateways_success_never_closes_what_the_probe_opened(fleet: Fleet) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(5)
        fleet.backends.answers["a-1"] = REFUSED
        seen = await fleet.until_open("a")
        asked = len(fleet.backends.asked["a-1"])
        fleet.monitor.reported_reachable("uid", "a", now() + 600, at=now() + 1, fingerprint="a-1")
        await asyncio.sleep(30)
        assert len(fleet.backends.asked["a-1"]) == asked
        assert replace(fleet.seen("a"), detail="") == replace(seen, detail="")
        assert fleet.seen("a").detail.endswith(REACHABLE_ELSEWHERE)
        # A failing call takes it back.
        fleet.monitor.suspect("uid", "a", "a-1")
        fleet.monitor.end_open_time("uid", "a", EarlyEnd.RESET)
        await asyncio.sleep(1)
        assert REACHABLE_ELSEWHERE not in fleet.seen("a").detail

    fleet.runs(act)


@pytest.mark.parametrize(
    ("late_s", "fingerprint", "told"),
    [
        (REPORT_LATE_S + 1, "a-1", True),
        (REPORT_LATE_S - 1, "a-1", False),
        (-30.0, "a-1", False),
        (REPORT_LATE_S + 1, "of an older target", False),
    ],
)
def test_only_an_answer_that_came_after_it_began_to_fail_for_us_is_told(
    fleet: Fleet, late_s: float, fingerprint: str, told: bool
) -> None:
    async def act() -> None:
        fleet.monitor.set_targets("uid", [target("a")])
        await asyncio.sleep(31)
        fleet.backends.answers["a-1"] = REFUSED
        while not fleet.seen("a").consecutive_failures:  # noqa: ASYNC110 - as a user would look
            await asyncio.sleep(0.01)
        failing_since = now()
        await fleet.until_open("a")
        fleet.monitor.reported_reachable("uid", "a", now() + 60, at=failing_since + late_s, fingerprint=fingerprint)
        assert (REACHABLE_ELSEWHERE in fleet.seen("a").detail) is told

    fleet.runs(act)
