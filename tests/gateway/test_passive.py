"""The local breaker alone, in fast-forward: what counts, when it opens, who tries, and what ends it."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from tests.health.fakeclock import FakeClock, run
from tests.health.fleet import OK, REFUSED, Backends

from vmcp.api.category import ErrorCategory
from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.api.operational import OverrideMode
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.passive import TELL_REACHED_S, Passive, Reading, reading_of
from vmcp.gateway.unavailable import unavailable
from vmcp.gateway.upstream import Upstream
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.snapshot import Circuit, Health, Override, Snapshot
from vmcp.health.target import Target
from vmcp.mcp.backend import Address, Backend, BackendError
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport

DEFAULT = BreakerPolicy(enabled=True)
HEALTHY = Snapshot("a", "http://a/mcp", "f", health=Health.HEALTHY)
SICK = replace(HEALTHY, health=Health.UNHEALTHY, consecutive_failures=3)
OPEN = replace(SICK, circuit=Circuit.OPEN, circuit_changed_at=1.0, open_until=1e12)
CONNECT = BackendError(ErrorCategory.CONNECT, "a refuses connections on port 80.", sent=False)
TIMEOUT = BackendError(ErrorCategory.TIMEOUT, "The server did not answer in time.")


def status(code: int, *, spoke: bool = False, category: ErrorCategory = ErrorCategory.HTTP_5XX) -> BackendError:
    error = BackendError(category, f"The server fails with HTTP {code}.", http_status=code)
    error.spoke = spoke
    return error


class World:
    """One backend `a`, its local breaker, and whoever is told."""

    def __init__(self, policy: BreakerPolicy = DEFAULT) -> None:
        self.clock = FakeClock()
        self.probes = Backends()
        self.told: list[tuple[str, int]] = []
        self.reported: list[float] = []
        self.flips: list[bool] = []
        self.metrics = Metrics()
        self.passive = Passive(
            guard=self._guard,
            metrics=self.metrics,
            check=self.probes,
            tell=self,
            clock=self.clock,
            rng=random.Random(1),
        )
        self.target = Target("a", "http://a/mcp", HealthPolicy(breaker=policy), fingerprint="f")
        self.upstream = self.fresh()
        self.passive.configure({"a": self.upstream}, [self.target])
        self.operator_says(HEALTHY)

    def fresh(self) -> Upstream:
        backend = Backend(
            HttpTransport(guard=AddressGuard()), Address("http://a/mcp"), client_name="t", client_version="0"
        )
        config = GatewayBackend.model_validate({"name": "a", "url": "http://a/mcp", "transport": "streamable-http"})
        return Upstream(config, backend, fingerprint="f", timeout_s=30.0)

    def failed(self, name: str, fingerprint: str, failures: int) -> None:
        assert (name, fingerprint) == ("a", "f")
        self.told.append((name, failures))

    def reached(self, name: str, fingerprint: str, at: float) -> None:
        assert (name, fingerprint) == ("a", "f")
        self.reported.append(at)

    def operator_says(self, snapshot: Snapshot) -> None:
        self.upstream.see(snapshot)
        self.passive.heard("a")

    def calls_fail(self, times: int, error: BackendError = CONNECT) -> None:
        for _ in range(times):
            self.passive.failed(self.upstream, error)

    def call_succeeds(self) -> None:
        self.passive.reached(self.upstream)

    @property
    def is_open(self) -> bool:
        return self.upstream.snapshot.circuit is Circuit.OPEN

    @property
    def probed(self) -> list[float]:
        return self.probes.asked["f"]

    def runs(self, act: Callable[[], Awaitable[None]]) -> None:
        async def scenario() -> None:
            async with asyncio.TaskGroup() as group:
                loop = group.create_task(self.passive.run())
                await act()
                loop.cancel()

        run(scenario())

    def _guard(self, name: str, local: Snapshot | None) -> None:
        assert name == "a"
        if self.upstream.guard(local):
            self.flips.append(self.upstream.usable)


@pytest.mark.parametrize(
    ("error", "reading"),
    [
        (CONNECT, Reading.FAILED),
        (BackendError(ErrorCategory.CONNECT, "reset before the head"), Reading.FAILED),
        (BackendError(ErrorCategory.TLS, "expired"), Reading.FAILED),
        (status(502), Reading.FAILED),
        (status(503), Reading.FAILED),
        (status(503, category=ErrorCategory.OVERLOADED), Reading.FAILED),
        (status(504), Reading.FAILED),
        (status(502, spoke=True), Reading.REACHED),
        (status(503, spoke=True, category=ErrorCategory.OVERLOADED), Reading.REACHED),
        (status(500), Reading.REACHED),
        (status(501), Reading.REACHED),
        (status(404, category=ErrorCategory.HTTP_4XX), Reading.REACHED),
        (status(401, category=ErrorCategory.AUTH_REQUIRED), Reading.REACHED),
        (status(429, category=ErrorCategory.RATE_LIMITED), Reading.REACHED),
        (status(302, category=ErrorCategory.REDIRECT), Reading.REACHED),
        (status(200, category=ErrorCategory.CONNECT), Reading.REACHED),
        (TIMEOUT, Reading.NOTHING),
        (BackendError(ErrorCategory.DNS, "no such name"), Reading.NOTHING),
        (BackendError(ErrorCategory.FORBIDDEN, "refused by the guard"), Reading.NOTHING),
        (BackendError(ErrorCategory.CANCELLED, "out of sockets"), Reading.NOTHING),
    ],
)
def test_only_what_shows_that_the_backend_is_not_reached_counts(error: BackendError, reading: Reading) -> None:
    assert reading_of(error) is reading


def test_the_third_failed_call_opens_and_the_client_is_told_so() -> None:
    async def act() -> None:
        world.calls_fail(2)
        assert world.upstream.usable
        world.calls_fail(1)
        assert not world.upstream.usable
        error = unavailable(world.upstream)
        assert error.code == -32003
        assert error.message.startswith("backend 'a' is unavailable (circuit open), retry in ")
        open_until = world.upstream.snapshot.open_until
        assert open_until is not None
        assert 2 <= open_until - world.clock.wall() <= 2.2

    world = World()
    world.runs(act)
    assert world.told == [("a", 1), ("a", 3)]
    assert b'vmcp_gateway_local_breaker_openings_total{backend="a"} 1.0' in world.metrics.exposition()


@pytest.mark.parametrize(("threshold", "calls"), [(1, 1), (2, 2), (3, 3), (5, 3), (100, 3)])
def test_a_lower_threshold_of_the_policy_counts_a_higher_one_does_not(threshold: int, calls: int) -> None:
    async def act() -> None:
        world.calls_fail(calls - 1)
        assert not world.is_open
        world.calls_fail(1)
        assert world.is_open

    world = World(replace(DEFAULT, failure_threshold=threshold))
    world.runs(act)


@pytest.mark.parametrize("error", [TIMEOUT, status(500), status(503, spoke=True), status(429)])
def test_slowness_and_what_the_backend_says_itself_never_open(error: BackendError) -> None:
    async def act() -> None:
        world.calls_fail(100, error)

    world = World()
    world.runs(act)
    assert world.upstream.usable
    assert not world.told


def test_any_answer_between_two_failures_starts_the_count_anew_but_a_slow_call_does_not() -> None:
    async def act() -> None:
        for between in (world.call_succeeds, lambda: world.calls_fail(1, status(500))):
            world.calls_fail(2)
            between()
        assert not world.is_open
        world.calls_fail(2)
        world.calls_fail(1, TIMEOUT)
        world.calls_fail(1)
        assert world.is_open

    world = World()
    world.runs(act)


def test_without_a_breaker_in_the_policy_there_is_none_here() -> None:
    async def act() -> None:
        world.calls_fail(50)

    world = World(BreakerPolicy(enabled=False))
    world.runs(act)
    assert world.upstream.usable
    assert not world.told


@pytest.mark.parametrize("mode", [OverrideMode.FORCED_CLOSED, OverrideMode.DISABLED])
def test_a_person_overrules_the_local_breaker_too(mode: OverrideMode) -> None:
    async def act() -> None:
        ordered = replace(HEALTHY, override=Override(mode, 1.0))
        world.calls_fail(3)
        world.operator_says(ordered)
        assert world.upstream.usable
        world.calls_fail(50)
        assert world.upstream.usable

    world = World()
    world.runs(act)


def test_the_pauses_between_trials_grow_up_to_the_open_time_of_the_policy() -> None:
    async def act() -> None:
        world.probes.answers["f"] = REFUSED
        world.calls_fail(3)
        await asyncio.sleep(400)
        pauses = [after - before for before, after in itertools.pairwise(world.probed)]
        assert all(grown > 1.5 * pause for pause, grown in itertools.pairwise(pauses[:4]))
        assert 60 <= pauses[-1] <= 67

    world = World()
    world.runs(act)


def test_it_is_tried_by_the_probe_when_its_time_is_over_and_never_by_a_call() -> None:
    async def act() -> None:
        began = world.clock.monotonic()
        world.probes.answers["f"] = REFUSED
        world.calls_fail(3)
        await asyncio.sleep(1.9)
        assert not world.probed
        world.calls_fail(10)
        world.call_succeeds()
        assert world.is_open
        await asyncio.sleep(0.5)
        (first,) = world.probed
        assert 2 <= first - began <= 2.3
        assert world.is_open
        # Reopened for twice as long, as the policy says.
        await asyncio.sleep(3.4)
        assert len(world.probed) == 1
        world.probes.answers["f"] = OK
        await asyncio.sleep(1.5)
        assert len(world.probed) == 2
        assert world.upstream.usable
        assert world.upstream.snapshot is world.upstream.told
        await asyncio.sleep(300)
        assert len(world.probed) == 2

    world = World()
    world.runs(act)
    assert world.flips == [False, True]


def test_as_many_trials_as_the_policy_asks_for_close_it() -> None:
    async def act() -> None:
        world.calls_fail(3)
        while not world.probed:  # noqa: ASYNC110 - as a user would look
            await asyncio.sleep(0.5)
        assert world.upstream.snapshot.circuit is Circuit.HALF_OPEN
        assert not world.upstream.usable
        await asyncio.sleep(3)
        assert len(world.probed) == 2
        assert world.upstream.usable

    world = World(replace(DEFAULT, success_threshold=2))
    world.runs(act)


def test_the_count_is_new_after_it_closed() -> None:
    async def act() -> None:
        world.calls_fail(3)
        await asyncio.sleep(70)
        assert world.upstream.usable
        world.calls_fail(2)
        assert world.upstream.usable
        world.calls_fail(1)
        assert not world.upstream.usable

    world = World()
    world.runs(act)


@pytest.mark.parametrize("verdict", [SICK, OPEN, replace(HEALTHY, health=Health.DEGRADED)])
def test_a_new_word_of_the_operator_takes_over(verdict: Snapshot) -> None:
    async def act() -> None:
        world.calls_fail(3)
        world.operator_says(verdict)
        assert world.upstream.snapshot is verdict
        world.operator_says(HEALTHY)
        assert world.upstream.usable
        await asyncio.sleep(300)
        assert not world.probed

    world = World()
    world.runs(act)


def test_the_operators_old_word_changes_nothing() -> None:
    async def act() -> None:
        world.calls_fail(3)
        for seconds in range(20):
            world.operator_says(replace(HEALTHY, last_check_at=float(seconds), latency_s=0.01))
            assert world.is_open

    world = World()
    world.runs(act)


def test_calls_under_way_when_the_operator_opened_it_open_nothing_here() -> None:
    async def act() -> None:
        world.operator_says(OPEN)
        world.calls_fail(5)
        world.operator_says(HEALTHY)
        assert world.upstream.usable

    world = World()
    world.runs(act)
    assert not world.told


def test_the_own_monitor_sees_it_answer() -> None:
    async def act() -> None:
        world.calls_fail(3)
        world.passive.answered("a")
        assert world.upstream.usable
        world.passive.answered("a")
        world.passive.answered("no such backend")

    world = World()
    world.runs(act)


def test_calls_of_another_target_of_that_name_say_nothing() -> None:
    async def act() -> None:
        before = world.upstream
        world.calls_fail(3)
        world.upstream = world.fresh()
        world.passive.configure({"a": world.upstream}, [world.target])
        for _ in range(5):
            world.passive.failed(before, CONNECT)
        assert world.upstream.usable
        await asyncio.sleep(300)
        assert not world.probed

    world = World()
    world.runs(act)


def test_a_configuration_that_keeps_the_backend_keeps_its_opening_unless_the_breaker_is_off() -> None:
    async def act() -> None:
        world.calls_fail(3)
        other = replace(world.target, policy=HealthPolicy(interval_s=10.0, breaker=DEFAULT))
        world.passive.configure({"a": world.upstream}, [other])
        assert world.is_open
        world.passive.configure({"a": world.upstream}, [replace(other, policy=HealthPolicy())])
        assert world.upstream.usable
        world.passive.configure({}, [])
        world.calls_fail(3)
        await asyncio.sleep(300)
        assert not world.probed

    world = World()
    world.runs(act)


def test_answers_of_a_backend_that_fails_for_the_operator_are_reported_not_too_often() -> None:
    async def act() -> None:
        failing = replace(HEALTHY, consecutive_failures=1)
        world.call_succeeds()
        assert not world.reported
        world.operator_says(failing)
        assert len(world.reported) == 1
        for _ in range(40):
            world.call_succeeds()
            await asyncio.sleep(TELL_REACHED_S / 20)
        assert 2 <= len(world.reported) <= 3
        world.operator_says(HEALTHY)
        reports = len(world.reported)
        world.call_succeeds()
        assert len(world.reported) == reports
        assert world.upstream.usable

    world = World()
    world.runs(act)


def test_an_answer_before_a_failure_or_long_ago_is_not_reported() -> None:
    async def act() -> None:
        world.call_succeeds()
        await asyncio.sleep(1)
        world.calls_fail(1)
        world.operator_says(OPEN)
        world.operator_says(HEALTHY)
        world.call_succeeds()
        await asyncio.sleep(120)
        world.operator_says(OPEN)

    world = World()
    world.runs(act)
    assert not world.reported
