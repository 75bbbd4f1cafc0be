"""What gateways write into their Leases: whose word counts, how much of it, and what it makes happen."""

import copy
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from vmcp.api.passive import ANNOTATION, PassiveReport, Sighting, dump_report
from vmcp.handlers.leases import REACHABLE_S, REFILLED_S, REPORTS_AT_ONCE, Leases
from vmcp.health.hearsay import WITHHELD_S
from vmcp.health.monitor import Check, Monitor
from vmcp.health.outcome import Outcome
from vmcp.health.target import Target
from vmcp.kube.client import JsonObject
from vmcp.reconcile.cache import Key

KEY = Key("virtualmcpservers", "prod", "front")


class NeverChecked(Check):
    async def check(self, target: Target) -> Outcome:
        raise AssertionError("no loop runs")

    def forget(self, target: Target) -> None:
        pass


class Heard(Monitor):
    """A monitor that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(check=NeverChecked(), changed=lambda change: None)
        self.suspects: list[tuple[str, str, str]] = []
        self.withheld: list[tuple[str, str, float, str]] = []
        self.reachable: list[tuple[str, str, float, float, str | None]] = []

    def suspect(self, owner: str, name: str, fingerprint: str) -> None:
        self.suspects.append((owner, name, fingerprint))

    def reported_reachable(
        self, owner: str, name: str, until: float, *, at: float = 0.0, fingerprint: str | None = None
    ) -> None:
        self.reachable.append((owner, name, until, at, fingerprint))

    def reported_withheld(self, owner: str, name: str, until: float, *, fingerprint: str) -> None:
        self.withheld.append((owner, name, until, fingerprint))


class World:
    def __init__(self, known: Callable[[str], bool] = lambda uid: uid == "uid") -> None:
        self.monitor = Heard()
        self.now = 1000.0
        self.written = 0
        self.leases = Leases(monitor=self.monitor, key_of=lambda uid: KEY if known(uid) else None, now=lambda: self.now)

    def says(self, *sightings: Sighting, lease: JsonObject | None = None) -> bool:
        self.written += 1
        time = datetime.fromtimestamp(1_800_000_000 + self.written, UTC)
        return self.writes(dump_report(PassiveReport(replica="r", time=time, backends=list(sightings))), lease=lease)

    def writes(self, text: Any, *, lease: JsonObject | None = None) -> bool:
        before = lease or made()
        after = copy.deepcopy(before)
        after["metadata"]["annotations"] = {ANNOTATION: text}
        return self.leases.changed(before, after)


def made(name: str = "front-vmcp", namespace: str = "prod", uid: str = "uid") -> JsonObject:
    owner = {"kind": "VirtualMCPServer", "name": "front", "uid": uid, "controller": True}
    metadata = {"name": name, "namespace": namespace, "uid": "of-the-lease", "ownerReferences": [owner]}
    return {"metadata": metadata | {"labels": {"app": "virtualmcpserver"}}}


FAILING = Sighting(name="a", fingerprint="f", failures=3)


@pytest.fixture
def world() -> World:
    return World()


def test_failing_calls_make_the_backend_suspect_and_answered_ones_reachable(world: World) -> None:
    reached = Sighting(name="b", fingerprint="g", failures=0, reached_seconds_ago=5.0)
    silent = Sighting(name="c", fingerprint="h", failures=0)
    assert world.says(FAILING, reached, silent)
    assert world.monitor.suspects == [("uid", "a", "f")]
    assert world.monitor.reachable == [("uid", "b", 995.0 + REACHABLE_S, 995.0, "g")]


def test_a_backend_that_is_withheld_is_told_for_a_while(world: World) -> None:
    assert world.says(Sighting(name="a", fingerprint="f", withheld=True))
    assert world.monitor.withheld == [("uid", "a", 1000.0 + WITHHELD_S, "f")]
    assert not world.monitor.suspects
    assert not world.monitor.reachable


def test_the_same_report_seen_again_says_nothing_new(world: World) -> None:
    lease = made()
    lease["metadata"]["annotations"] = {
        ANNOTATION: dump_report(PassiveReport(time=datetime.now(UTC), backends=[FAILING]))
    }
    assert world.leases.changed(lease, copy.deepcopy(lease))
    assert not world.monitor.suspects


@pytest.mark.parametrize(
    "lease", [made(uid="of-another"), made(name="other-vmcp"), made(namespace="elsewhere"), {"metadata": {"name": "x"}}]
)
def test_a_lease_speaks_for_the_object_of_its_own_name_only(world: World, lease: JsonObject) -> None:
    world.says(FAILING, lease=lease)
    assert not world.monitor.suspects


@pytest.mark.parametrize("text", ["{", "", None, 7, "x" * 100_000, '{"time":"2026-11-24T12:00:00Z","backends":[{}]}'])
def test_what_is_no_report_does_nothing(world: World, text: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert world.writes(text)
    assert not world.monitor.suspects
    assert "x" * 100 not in caplog.text


def test_a_gateway_that_writes_without_end_is_heard_so_often(world: World) -> None:
    for _ in range(1000):
        world.says(FAILING)
    assert len(world.monitor.suspects) == REPORTS_AT_ONCE
    world.now += 1.0
    for _ in range(1000):
        world.says(FAILING)
    assert len(world.monitor.suspects) == REPORTS_AT_ONCE + 10


def test_how_often_a_gateway_was_heard_is_not_remembered_for_ever() -> None:
    """A Lease may go without a word: its deletion is missed when a watch is lost."""
    world = World(known=lambda uid: True)
    for number in range(1000):
        world.says(FAILING, lease=made(uid=f"uid-{number}"))
        world.now += 1.0
    assert len(world.monitor.suspects) == 1000
    assert len(world.leases._allowances) <= REFILLED_S


@pytest.mark.parametrize("part", ["labels", "ownerReferences", "deletionTimestamp", "uid"])
def test_a_change_of_what_the_operator_owns_is_for_the_reconciler(world: World, part: str) -> None:
    before, after = made(), made()
    after["metadata"][part] = "changed"
    if part == "ownerReferences":
        after["metadata"][part] = []
    assert not world.leases.changed(before, after)
