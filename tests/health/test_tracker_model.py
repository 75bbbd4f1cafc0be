"""The tracker against the rules of design §3, spelled out the long way."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.health.checked import BUSY, DENIED, GIVEN_UP, LIMITED, OK, REFUSED, SLOW, WALL, Backend

from vmcp.health import tracker
from vmcp.health.outcome import Outcome
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.snapshot import Circuit, Health, Snapshot

OUTCOMES = st.sampled_from([OK, SLOW, REFUSED, LIMITED, BUSY, DENIED, GIVEN_UP])
POLICIES = st.builds(
    lambda unhealthy, enabled, failures, successes: HealthPolicy(
        unhealthy_threshold=unhealthy,
        breaker=BreakerPolicy(enabled, failures, success_threshold=successes),
    ),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 3),
)


class Model:
    """Design §3 as a person would keep the books: a list of what happened, and counting backwards."""

    def __init__(self, policy: HealthPolicy) -> None:
        self.policy = policy
        self.health = Health.UNKNOWN
        self.circuit = Circuit.CLOSED
        self.run: list[bool] = []  # failed or not, since the circuit last moved
        self.failures = 0
        self.excused = False

    def check(self, outcome: Outcome) -> None:
        if self.circuit is Circuit.OPEN:
            self.circuit, self.run, self.health = Circuit.HALF_OPEN, [], Health.DEGRADED
        if outcome is GIVEN_UP:
            return
        if outcome is BUSY and not self.excused:
            self.excused = True
            return
        failed = outcome in (REFUSED, BUSY)
        self.excused = self.excused and failed
        self.failures = self.failures + 1 if failed else 0
        self.run.append(failed)
        closing = False
        breaker = self.policy.breaker
        if self.circuit is Circuit.HALF_OPEN and failed:
            self.circuit, self.run = Circuit.OPEN, []
        elif self.circuit is Circuit.HALF_OPEN and len(self.run) == breaker.success_threshold:
            self.circuit, self.run, closing = Circuit.CLOSED, [], True
        elif self.circuit is Circuit.CLOSED and breaker.enabled:
            last = self.run[-breaker.failure_threshold :]
            if len(last) == breaker.failure_threshold and all(last):
                self.circuit, self.run = Circuit.OPEN, []
        if self.circuit is Circuit.OPEN:
            self.health = Health.UNHEALTHY
        elif self.circuit is Circuit.HALF_OPEN:
            self.health = Health.DEGRADED
        elif self.failures >= self.policy.unhealthy_threshold:
            self.health = Health.UNHEALTHY
        elif not failed and outcome is DENIED:
            self.health = Health.UNAUTHENTICATED
        elif not failed:
            self.health = Health.DEGRADED if closing or outcome in (SLOW, LIMITED) else Health.HEALTHY


@given(POLICIES, st.lists(OUTCOMES, max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_sequence_of_outcomes_is_read_as_the_rules_say(policy: HealthPolicy, outcomes: list[Outcome]) -> None:
    backend, model = Backend(policy), Model(policy)
    for outcome in outcomes:
        seen = backend.checked(outcome)
        model.check(outcome)
        assert (seen.health, seen.circuit, seen.consecutive_failures) == (
            model.health,
            model.circuit,
            model.failures,
        )
        assert (seen.open_until is None) == (seen.circuit is not Circuit.OPEN)
        assert backend.due > backend.now or seen.circuit is Circuit.OPEN


@given(POLICIES, st.lists(OUTCOMES, max_size=30), st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_a_restart_between_any_two_checks_is_not_noticed(
    policy: HealthPolicy, outcomes: list[Outcome], restart: int
) -> None:
    # What the status does not carry is left out: the trials that succeeded so far, and an excused 503.
    policy = replace(policy, breaker=replace(policy.breaker, success_threshold=1))
    stayed, restarted = Backend(policy), Backend(policy)
    for number, outcome in enumerate(OK if outcome is BUSY else outcome for outcome in outcomes):
        if number == restart:
            wall = WALL + restarted.now
            restarted.record = tracker.recall(restarted.snapshot, policy, restarted.now, wall)
        assert facts(restarted.checked(outcome)) == facts(stayed.checked(outcome))


def facts(snapshot: Snapshot) -> tuple[object, ...]:
    return (
        snapshot.health,
        snapshot.circuit,
        snapshot.reopen_count,
        snapshot.consecutive_failures,
        snapshot.category,
        [(step.before, step.after) for step in snapshot.transitions],
    )
