"""A backend's record, and the one way in which its circuit moves. Pure."""

import math
from typing import NamedTuple

from vmcp.api.category import ErrorCategory
from vmcp.health.breaker import Breaker
from vmcp.health.policy import HealthPolicy
from vmcp.health.snapshot import Circuit, Health, Override, Transition

HISTORY = 5
"""Transitions that are kept of a backend."""


class Record(NamedTuple):
    """One backend's state. Wall-clock fields are seconds since the epoch.

    Attributes:
        open_until_wall: when the open time ends, fixed when the circuit opened; None unless open.
        deferred: a 503 with Retry-After has been excused, and the backend has not answered since.
        retry_after_s: how long the backend asked to be left alone by the last answer; 0 = it did not.
        last_check_wall: when the last check that said something ended.
        override: what a person overrules, while it is in force.
    """

    breaker: Breaker = Breaker()
    health: Health = Health.UNKNOWN
    health_changed_wall: float | None = None
    circuit_changed_wall: float | None = None
    open_until_wall: float | None = None
    deferred: bool = False
    retry_after_s: float = 0.0
    last_check_wall: float | None = None
    latency_s: float | None = None
    category: ErrorCategory | None = None
    mcp_revision: str = ""
    detail: str = ""
    transitions: tuple[Transition, ...] = ()
    override: Override | None = None


Step = tuple[Record, Transition | None]
"""The next record, and the circuit's transition where there was one."""


def moved(
    record: Record,
    after: Breaker,
    policy: HealthPolicy,
    now: float,
    wall: float,
    reason: str,
    health: Health | None = None,
) -> Step:
    """The record with its next breaker, and the transition if any. `health` None = what follows from them."""
    before = record.breaker
    if after is before and (health is None or health is record.health):
        return record, None
    if after.circuit is before.circuit:
        health = health or record.health
        changed = record.health_changed_wall if health is record.health else wall
        return record._replace(breaker=after, health=health, health_changed_wall=changed), None
    transition = Transition(wall, before.circuit, after.circuit, reason)
    health = health_of(after.circuit) or health or health_by_thresholds(after.failures, policy)
    return record._replace(
        breaker=after,
        health=health,
        health_changed_wall=record.health_changed_wall if health is record.health else wall,
        circuit_changed_wall=wall,
        open_until_wall=wall + after.open_until - now if _has_an_end(after) else None,
        transitions=(*record.transitions, transition)[-HISTORY:],
    ), transition


def health_of(circuit: Circuit) -> Health | None:
    """What a circuit says of the health by itself (design §3 rule 1)."""
    if circuit is Circuit.OPEN:
        return Health.UNHEALTHY
    return Health.DEGRADED if circuit is Circuit.HALF_OPEN else None


def health_by_thresholds(failures: int, policy: HealthPolicy) -> Health:
    """Health where the circuit was closed by something else than a check."""
    return Health.UNHEALTHY if failures >= policy.unhealthy_threshold else Health.DEGRADED


def _has_an_end(breaker: Breaker) -> bool:
    return breaker.circuit is Circuit.OPEN and math.isfinite(breaker.open_until)
