"""What a person overrules of a backend (design §3 rule 8), brought into its record. Pure.

While it is in force the breaker has no say: forced open is an open circuit that only the person ends, or `until`;
forced closed and disabled are a closed one.
"""

import math
from dataclasses import replace

from vmcp.api.operational import OverrideMode
from vmcp.health import breaker as circuits
from vmcp.health.policy import BreakerPolicy, HealthPolicy, Overrule
from vmcp.health.record import Record, Step, moved
from vmcp.health.snapshot import Circuit, Override, told_of

SHORTEST_WAIT_S = 0.001
"""Wall clock and monotonic clock agree no better than this on when something ends."""


def abide(record: Record, policy: HealthPolicy, now: float, wall: float) -> Step:
    """Bring the record in line with what a person orders, if anything, at this time (design §3 rule 8)."""
    asked, had = _ordered(policy, wall), record.override
    if asked is None and had is None:
        return record, None
    if asked is None:
        record = record._replace(override=None)
        if had is None or had.mode is not OverrideMode.FORCED_OPEN or record.breaker.circuit is not Circuit.OPEN:
            return record, None
        return moved(record, circuits.half_opened(record.breaker), policy, now, wall, "no longer forced open")
    override = had if had is not None and _is_the_same(had, asked) else _in_force(asked, had, wall)
    record = record._replace(override=override)
    if asked.mode is OverrideMode.FORCED_OPEN:
        left = math.inf if asked.until is None else max(asked.until - wall, SHORTEST_WAIT_S)
        after = circuits.forced_open(record.breaker, now + left)
        record, transition = moved(record, after, policy, now, wall, told_of(override))
        return record._replace(open_until_wall=asked.until), transition
    return moved(record, circuits.closed(record.breaker), policy, now, wall, told_of(override))


def override_ends(record: Record, now: float, wall: float) -> float:
    """When what a person overrules ends by itself, in monotonic seconds; infinity = not by itself."""
    if record.override is None or record.override.until is None:
        return math.inf
    return now + max(record.override.until - wall, SHORTEST_WAIT_S)


def is_forced_open(record: Record) -> bool:
    """Whether a person keeps the circuit open."""
    return record.override is not None and record.override.mode is OverrideMode.FORCED_OPEN


def is_ordered_open(policy: HealthPolicy, wall: float) -> bool:
    """Whether a person orders that the circuit be open at this time, whatever is known of the backend."""
    asked = _ordered(policy, wall)
    return asked is not None and asked.mode is OverrideMode.FORCED_OPEN


def breaker_policy(record: Record, policy: HealthPolicy) -> BreakerPolicy:
    """The breaker's policy in force: while a person overrules it, it has no say."""
    return policy.breaker if record.override is None else replace(policy.breaker, enabled=False)


def _ordered(policy: HealthPolicy, wall: float) -> Overrule | None:
    asked = policy.overrule
    return None if asked is None or (asked.until is not None and wall >= asked.until) else asked


def _is_the_same(had: Override, asked: Overrule) -> bool:
    return (had.mode, had.until, had.reason) == (asked.mode, asked.until, asked.reason)


def _in_force(asked: Overrule, had: Override | None, wall: float) -> Override:
    since = had.since if had is not None and had.mode is asked.mode else wall
    return Override(asked.mode, since, asked.until, asked.reason)
