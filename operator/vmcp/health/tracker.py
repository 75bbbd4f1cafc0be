"""What is remembered of one backend, and how an outcome changes it. Pure: time and chance are arguments.

A check runs through three functions: `begin` (may it be sent?), `observe` (what did it show?), `next_due`
(when again?). `now` is monotonic, `wall` is seconds since the epoch, `jitter` is a random number in [0, 1).

Health, first rule that fits (design §3 rules 1 to 3, 5):

1. circuit open: unhealthy; half-open: degraded.
2. `unhealthy_threshold` consecutive failures: unhealthy. Fewer leave the health as it was, unknown too.
3. 401 or 403 without auth configured: unauthenticated.
4. slower than `degraded_latency_s`, or 429, or the success that closed the circuit: degraded.
5. any other answer: healthy.

What a person overrules comes first (rule 8, `vmcp.health.overrule`).
"""

from dataclasses import replace

from vmcp.api.category import ErrorCategory
from vmcp.api.duration import format_duration
from vmcp.api.operational import OverrideMode
from vmcp.health import breaker as circuits
from vmcp.health.breaker import Breaker, EarlyEnd
from vmcp.health.outcome import EFFECTS, MEANINGS, Outcome, Reading, Tally, Wait, reading_of
from vmcp.health.overrule import abide, breaker_policy, is_forced_open
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.record import HISTORY, Record, Step, health_by_thresholds, health_of, moved
from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition, told_of, usable
from vmcp.health.target import Target

RETRY_AFTER_MAX_S = 300.0
"""The longest Retry-After that is honoured."""

INTERVAL_JITTER = 0.1
"""An interval is shorter or longer by up to this share; a fast interval, or a Retry-After, only longer."""

WITHHELD = (
    "the gateway does not call it: a Secret gives no usable value for a header; create it, then restart the gateway"
)
REACHABLE_ELSEWHERE = "reachable from the gateway, not from the operator; check NetworkPolicy or mesh"
"""What is told of a backend that fails for us and answers a gateway (design §3 rule 7)."""


def begin(record: Record, policy: HealthPolicy, now: float, wall: float, jitter: float, limit: float) -> Step:
    """A check is due: the end of an open time is taken note of, and a trial begins that has `limit` seconds.

    Whether the check may be sent is `may_check` of the record returned.
    """
    record, transition = abide(record, policy, now, wall)
    if is_forced_open(record):
        return record, transition
    passed = circuits.passing(record.breaker, breaker_policy(record, policy), now, jitter)
    reason = "open time over" if record.breaker.circuit is Circuit.OPEN else "trial did not report"
    record, passing = moved(record, passed, policy, now, wall, reason)
    transition = passing or transition
    started = circuits.begin(passed, now, limit)
    return (record if started is None or started is passed else record._replace(breaker=started)), transition


def may_check(record: Record) -> bool:
    """Whether a check begun by `begin` may be sent: always, except while the circuit is open."""
    return record.breaker.circuit is not Circuit.OPEN


def observe(record: Record, outcome: Outcome, target: Target, now: float, wall: float, jitter: float) -> Step:
    """A check ended: the record that knows it."""
    policy = target.policy
    reading = reading_of(outcome, auth_configured=target.auth_configured, deferred_before=record.deferred)
    before = record.breaker
    if reading is Reading.NOTHING:
        return undecided(record), None
    if before.circuit is Circuit.OPEN:
        return record, None
    if reading is Reading.DEFERRED:
        return _deferred(record, outcome, wall), None
    effect = EFFECTS[reading]
    failed = effect.tally is Tally.FAILURE
    if failed:
        after = circuits.failure(before, breaker_policy(record, policy), now, jitter)
        reason = _why(before, after, outcome)
    else:
        after = circuits.success(before, policy.breaker)
        reason = "trial succeeded"
    closing = after.circuit is Circuit.CLOSED and before.circuit is not Circuit.CLOSED
    health = _health(record, after, reading, outcome, policy, closing=closing)
    limited = effect.wait is not Wait.INTERVAL and outcome.retry_after_s is not None
    seen = Record(
        record.breaker,
        record.health,
        record.health_changed_wall,
        record.circuit_changed_wall,
        record.open_until_wall,
        record.deferred and failed,
        _patience(outcome) if limited else 0.0,
        wall,
        record.latency_s if outcome.latency_s is None else outcome.latency_s,
        None if reading is Reading.ALIVE else outcome.category,
        outcome.mcp_revision or record.mcp_revision,
        _detail(outcome, reading, policy),
        record.transitions,
        record.override,
    )
    return moved(seen, after, policy, now, wall, reason, health)


def next_due(record: Record, policy: HealthPolicy, due: float, finished: float, jitter: float) -> float:
    """When the next check is due, in monotonic seconds.

    Args:
        due: when the check that ended was due, or about when it began where that was much later. Intervals
            are counted from it, so that they do not drift; fast ones are counted from the end of the check.
        finished: when it ended.
    """
    if record.breaker.circuit is Circuit.OPEN:
        return record.breaker.open_until
    fast = pause(policy) * (1.0 + INTERVAL_JITTER * jitter)
    if record.retry_after_s:
        asked = finished + record.retry_after_s * (1.0 + INTERVAL_JITTER * jitter)
        if EFFECTS[MEANINGS[record.category].reading].wait is Wait.ASKED:
            return max(asked, finished + fast)
        return max(asked, due + _interval(policy, jitter))
    if is_counting(record.breaker, policy.unhealthy_threshold, breaker_policy(record, policy)):
        return finished + fast
    return max(due + _interval(policy, jitter), finished + fast)


def pause(policy: HealthPolicy) -> float:
    """Seconds between checks while failures are counting and in half-open: never above the interval."""
    return min(policy.fast_interval_s, policy.interval_s) or policy.interval_s


def is_counting(breaker: Breaker, unhealthy_threshold: int, policy: BreakerPolicy) -> bool:
    """Whether the next check decides something: half-open, or failures on their way to either threshold."""
    if breaker.circuit is Circuit.HALF_OPEN:
        return True
    threshold = max(unhealthy_threshold, policy.failure_threshold) if policy.enabled else unhealthy_threshold
    return 0 < breaker.failures < threshold


def doubted(record: Record, wall: float) -> Record:
    """A check failed in a way that may be our own fault, while we doubt ourselves: it was made, no more."""
    return undecided(record)._replace(last_check_wall=wall)


def due_in_doubt(policy: HealthPolicy, due: float, finished: float, jitter: float) -> float:
    """When the next check is due after such a failure: nothing is counting, so there is no hurry."""
    return max(due + _interval(policy, jitter), finished + pause(policy))


def end_open_time(record: Record, policy: HealthPolicy, cause: EarlyEnd, now: float, wall: float) -> Step:
    """End an open time early, for one of the named causes. What a person forced open stays so."""
    if is_forced_open(record):
        if cause is EarlyEnd.RESET:
            record = record._replace(breaker=record.breaker._replace(failures=0, reopenings=0))
        return record, None
    return moved(record, circuits.end_open_time(record.breaker, cause), policy, now, wall, cause.value)


def undecided(record: Record) -> Record:
    """A check was given up: a running trial has ended without saying anything."""
    return record._replace(breaker=circuits.nothing(record.breaker))


def adopt(record: Record, policy: HealthPolicy, now: float, wall: float) -> Step:
    """The policy changed under a record that stays: a breaker switched off is not open; no open time is cut."""
    record, transition = abide(record, policy, now, wall)
    if policy.breaker.enabled or record.breaker.circuit is not Circuit.OPEN or is_forced_open(record):
        return record, transition
    after = circuits.closed(record.breaker)
    return moved(record, after, policy, now, wall, "breaker switched off")


def afresh(record: Record, wall: float) -> Step:
    """The target changed: an empty record, but for what a person overrules, and the history of a circuit not closed."""
    if is_forced_open(record):
        return Record(
            breaker=Breaker(Circuit.OPEN, open_until=record.breaker.open_until),
            health=Health.UNHEALTHY,
            health_changed_wall=record.health_changed_wall,
            circuit_changed_wall=record.circuit_changed_wall,
            open_until_wall=record.open_until_wall,
            transitions=record.transitions,
            override=record.override,
        ), None
    if record.breaker.circuit is Circuit.CLOSED:
        return Record(override=record.override), None
    transition = Transition(wall, record.breaker.circuit, Circuit.CLOSED, EarlyEnd.TARGET_CHANGED.value)
    kept = (*record.transitions, transition)[-HISTORY:]
    return Record(circuit_changed_wall=wall, transitions=kept, override=record.override), transition


def recall(snapshot: Snapshot, policy: HealthPolicy, now: float, wall: float) -> Record:
    """The record that a snapshot of an earlier process describes (design §3 rule 9).

    What is left of an open time is never more than an open time of today's policy, whatever the clocks say.
    """
    circuit, open_until, open_until_wall = snapshot.circuit, 0.0, None
    forced = snapshot.override is not None and snapshot.override.mode is OverrideMode.FORCED_OPEN
    if not policy.breaker.enabled and circuit is Circuit.OPEN and not forced:
        circuit = Circuit.CLOSED
    reopenings = max(0, snapshot.reopen_count) if circuit is not Circuit.CLOSED else 0
    if circuit is Circuit.OPEN:
        longest = circuits.open_time(policy.breaker, reopenings, 1.0)
        claimed = wall if snapshot.open_until is None else snapshot.open_until
        left = min(max(claimed - wall, 0.0), longest)
        open_until, open_until_wall = now + left, min(claimed, wall + longest)
    failures = max(0, snapshot.consecutive_failures)
    health = health_of(circuit) or snapshot.health
    if circuit is Circuit.CLOSED and snapshot.circuit is not Circuit.CLOSED:
        health = health_by_thresholds(failures, policy)
    return Record(
        breaker=Breaker(circuit, failures, open_until, reopenings),
        health=health,
        health_changed_wall=snapshot.health_changed_at,
        circuit_changed_wall=snapshot.circuit_changed_at,
        open_until_wall=open_until_wall,
        last_check_wall=snapshot.last_check_at,
        latency_s=snapshot.latency_s,
        category=snapshot.category,
        mcp_revision=snapshot.mcp_revision,
        detail=_untold(snapshot),
        transitions=snapshot.transitions[-HISTORY:],
        override=snapshot.override,
    )


def snapshot_of(record: Record, target: Target, note: str = "") -> Snapshot:
    """What the record says, for status writer and gateway; `note` is one more sentence for a person."""
    if target.never_call:
        return Snapshot(
            name=target.name,
            url=target.url,
            fingerprint=target.fingerprint,
            health=Health.UNAUTHENTICATED,
            category=ErrorCategory.AUTH_REQUIRED,
            detail=_joined(target.never_call, target.note),
            auth_configured=target.auth_configured,
        )
    return Snapshot(
        name=target.name,
        url=target.url,
        fingerprint=target.fingerprint,
        health=record.health,
        circuit=record.breaker.circuit,
        circuit_changed_at=record.circuit_changed_wall,
        open_until=record.open_until_wall,
        reopen_count=record.breaker.reopenings,
        consecutive_failures=record.breaker.failures,
        last_check_at=record.last_check_wall,
        health_changed_at=record.health_changed_wall,
        latency_s=record.latency_s,
        category=record.category,
        mcp_revision=record.mcp_revision,
        detail=_joined(
            told_of(record.override) if record.override else "",
            record.detail,
            _unless_told(record, note),
            _unless_told(record, target.note),
        ),
        auth_configured=target.auth_configured,
        transitions=record.transitions,
        override=record.override,
    )


def withheld(snapshot: Snapshot) -> Snapshot:
    """The snapshot of a backend that a gateway does not call for want of a header's value: it is out.

    What is out anyhow stays what checks say, with one more sentence.
    """
    health = Health.UNAUTHENTICATED if usable(snapshot) else snapshot.health
    detail = snapshot.detail if WITHHELD in snapshot.detail else _joined(snapshot.detail, WITHHELD)
    return replace(snapshot, health=health, detail=detail)


def _health(
    record: Record, after: Breaker, reading: Reading, outcome: Outcome, policy: HealthPolicy, *, closing: bool
) -> Health:
    by_circuit = health_of(after.circuit)
    if by_circuit is not None:
        return by_circuit
    if EFFECTS[reading].tally is Tally.FAILURE:
        return Health.UNHEALTHY if closing or after.failures >= policy.unhealthy_threshold else record.health
    if reading is Reading.UNAUTHENTICATED:
        return Health.UNAUTHENTICATED
    if closing or reading is Reading.SLOW_OR_LIMITED or _is_slow(outcome, policy):
        return Health.DEGRADED
    return Health.HEALTHY


def _deferred(record: Record, outcome: Outcome, wall: float) -> Record:
    return record._replace(
        breaker=circuits.nothing(record.breaker),
        deferred=True,
        retry_after_s=_patience(outcome),
        last_check_wall=wall,
        category=outcome.category,
        mcp_revision=outcome.mcp_revision or record.mcp_revision,
        detail=outcome.detail,
    )


def _patience(outcome: Outcome) -> float:
    return min(max(outcome.retry_after_s or 0.0, 0.0), RETRY_AFTER_MAX_S)


def _unless_told(record: Record, note: str) -> str:
    """The note, unless the detail holds it: a recalled one does."""
    return "" if note in record.detail else note


def _untold(snapshot: Snapshot) -> str:
    """The detail without what `snapshot_of` put before it."""
    if snapshot.override is None:
        return snapshot.detail
    return snapshot.detail.removeprefix(told_of(snapshot.override)).removeprefix("; ")


def _is_slow(outcome: Outcome, policy: HealthPolicy) -> bool:
    return outcome.latency_s is not None and outcome.latency_s > policy.degraded_latency_s


def _detail(outcome: Outcome, reading: Reading, policy: HealthPolicy) -> str:
    if reading is Reading.ALIVE and _is_slow(outcome, policy):
        return outcome.detail or f"answers slower than {format_duration(policy.degraded_latency_s)}"
    return outcome.detail


def _why(before: Breaker, after: Breaker, outcome: Outcome) -> str:
    what = outcome.detail.rstrip(".") or (outcome.category.value if outcome.category else "failed")
    if before.circuit is Circuit.HALF_OPEN:
        return f"trial failed: {what}"
    return f"{after.failures} consecutive failures: {what}"


def _interval(policy: HealthPolicy, jitter: float) -> float:
    return policy.interval_s * (1.0 + INTERVAL_JITTER * (2.0 * jitter - 1.0))


def _joined(*sentences: str) -> str:
    present = [sentence for sentence in sentences if sentence]
    return present[0] if len(present) == 1 else "; ".join(sentence.rstrip(".") for sentence in present)
