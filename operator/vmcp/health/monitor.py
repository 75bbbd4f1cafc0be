"""Watches backends: checks each when it is due, keeps its record, tells of every change.

The operator and the standalone gateway run the same one.
"""

import asyncio
import logging
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vmcp.api.category import ErrorCategory
from vmcp.api.duration import format_duration
from vmcp.health import tracker
from vmcp.health.breaker import EarlyEnd
from vmcp.health.clock import Clock, SystemClock
from vmcp.health.doubt import Doubt
from vmcp.health.hearsay import SUSPECT_PAUSE_S, Hearsay
from vmcp.health.outcome import MEANINGS, Outcome
from vmcp.health.overrule import abide, override_ends
from vmcp.health.policy import HealthPolicy
from vmcp.health.record import Record, Step
from vmcp.health.scheduler import Scheduler, Statistics
from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition
from vmcp.health.target import Target, hostname_of, is_reached_alike, is_same, place_of

log = logging.getLogger(__name__)

GRACE_S = 0.5
"""A check keeps its own timeout; after this much more it is taken for one that will never report."""

STOOD_STILL_S = 1.0
"""A check that took this much longer than it can was held up by us, and says nothing of the backend."""

SETTLES_S = 1.5
"""A Service leads to a pod this long after the pod is ready: earlier, a trial finds nobody and reopens the circuit."""

FIRST_SPREAD_S = 1.0
"""First checks are spread over at least this."""

FIRST_PER_SECOND = 1000.0
"""First checks come no faster than this, on average."""


class Check(ABC):
    """Looks at one backend once. The one implementation is `vmcp.health.probe`."""

    @abstractmethod
    async def check(self, target: Target) -> Outcome:
        """What the backend showed, within `target.policy.timeout_s`. Raises nothing but CancelledError."""

    @abstractmethod
    def forget(self, target: Target) -> None:
        """Drop what is kept for this target; it is checked no more. Synchronous and instant."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a finished check, or a circuit that moved without one, did to a backend.

    `before` may equal `after`: a check that found nothing new is told of too.
    """

    owner: str
    before: Snapshot
    after: Snapshot
    transition: Transition | None = None


@dataclass(slots=True, eq=False)
class _Watched:
    """A backend under watch: the latest target, record and snapshot, and what gateways say of it."""

    target: Target
    record: Record
    snapshot: Snapshot
    hearsay: Hearsay = field(default_factory=Hearsay)


class Monitor:
    """Every target of every owner (a VirtualMCPServer's UID), each checked at its own due time.

    Args:
        check: how to look at a backend.
        changed: told of every finished check, every transition and every override; called from the loop, and from
            `set_targets`, `end_open_time` and `reported_withheld` where these move one. It must return at once.
        doubted: told of every owner when a doubt in ourselves begins or ends (design §3 rule 7).
        concurrency: checks under way at once.
        per_host: of these, on one host and port.
    """

    def __init__(
        self,
        *,
        check: Check,
        changed: Callable[[Change], None],
        doubted: Callable[[str], None] | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        concurrency: int = 512,
        per_host: int = 32,
    ) -> None:
        self._check = check
        self._changed = changed
        self._doubted = doubted
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._owners: dict[str, dict[str, _Watched]] = {}
        self._doubt: Doubt[tuple[str, str]] = Doubt()
        self._scheduler: Scheduler[tuple[str, str]] = Scheduler(
            self._turn, clock=self._clock, concurrency=concurrency, per_host=per_host
        )

    def set_targets(
        self, owner: str, targets: Sequence[Target], recalled: Mapping[str, Snapshot] | None = None
    ) -> None:
        """Watch exactly these for this owner: new ones begin, gone ones end, unchanged ones keep theirs.

        Args:
            targets: names are unique.
            recalled: what `.status` said, by name; believed for a name that is new here and has the same
                fingerprint.
        """
        old = self._owners.get(owner, {})
        wanted = {target.name: target for target in sorted(targets, key=lambda target: target.name)}
        for name in old.keys() - wanted.keys():
            self._end(owner, old[name].target)
        moved: list[Change] = []
        now: dict[str, _Watched] = {}
        for name, target in wanted.items():
            before = old.get(name)
            if before is None:
                now[name] = self._new(owner, target, (recalled or {}).get(name), moved)
                self._begin(owner, now[name])
            elif not is_same(before.target, target):
                self._end(owner, before.target)
                now[name] = self._replaced(owner, before, target, moved)
                self._begin(owner, now[name])
            elif is_reached_alike(before.target, target):
                now[name] = before
                self._renew(owner, before, target, moved)
            else:
                self._end(owner, before.target)
                now[name] = _Watched(target, tracker.undecided(before.record), before.snapshot, before.hearsay)
                self._renew(owner, now[name], target, moved)
                self._begin(owner, now[name])
        self._owners[owner] = now
        for change in moved:
            self._changed(change)

    def forget(self, owner: str) -> None:
        """Watch nothing for this owner any more. Its checks under way report nowhere."""
        for watched in self._owners.pop(owner, {}).values():
            self._end(owner, watched.target)

    def snapshots(self, owner: str) -> tuple[Snapshot, ...]:
        """The owner's backends, sorted by name; empty for an owner that is not known."""
        return tuple(watched.snapshot for watched in self._owners.get(owner, {}).values())

    def probe_now(self, owner: str, name: str) -> None:
        """Make a check due now. An open circuit stays open: only `end_open_time` ends it."""
        watched = self._owners.get(owner, {}).get(name)
        if watched is not None and watched.record.breaker.circuit is not Circuit.OPEN:
            self._hasten((owner, name), self._clock.monotonic())

    def end_open_time(self, owner: str, name: str, cause: EarlyEnd) -> None:
        """End an open time early for a named cause, and make a check due, whatever the circuit's state.

        It is due now, or as soon as a target that became ready can be reached.
        """
        watched = self._owners.get(owner, {}).get(name)
        if watched is None or watched.target.never_call:
            return
        now, wall = self._clock.monotonic(), self._clock.wall()
        record, transition = tracker.end_open_time(watched.record, watched.target.policy, cause, now, wall)
        change = self._keep(owner, watched, record, transition)
        self._hasten((owner, name), now + SETTLES_S if cause is EarlyEnd.TARGET_READY else now)
        if transition is not None:
            self._changed(change)

    def suspect(self, owner: str, name: str, fingerprint: str) -> None:
        """A gateway's calls to this target fail: check now, and again at once while it fails for us too (design §6).

        What the checks find counts, and nothing else. An open or half-open circuit is tried in its own time.
        """
        watched = self._owners.get(owner, {}).get(name)
        if watched is None or watched.target.never_call or watched.target.fingerprint != fingerprint:
            return
        checks = watched.target.policy.breaker.failure_threshold
        due = watched.hearsay.suspected(watched.record.breaker, checks, self._clock.monotonic())
        if due is not None:
            self._hasten((owner, name), due)

    def reported_reachable(
        self, owner: str, name: str, until: float, *, at: float = math.inf, fingerprint: str | None = None
    ) -> None:
        """A gateway reaches this backend; while it fails for us, its message says so until then (monotonic seconds).

        Args:
            at: when it was reached, as far as we know; infinity = just now.
            fingerprint: of the target that was reached; None = of the one that is watched.
        """
        watched = self._owners.get(owner, {}).get(name)
        if watched is None or fingerprint not in (None, watched.target.fingerprint):
            return
        if watched.hearsay.reached(at, until):
            watched.snapshot = self._snapshot(watched)

    def reported_withheld(self, owner: str, name: str, until: float, *, fingerprint: str) -> None:
        """A gateway does not call this target for want of a header's value: until then it is out, and says so.

        Believed only of a target whose headers come from a Secret: no check of ours can judge those.
        """
        watched = self._owners.get(owner, {}).get(name)
        if watched is None or watched.target.fingerprint != fingerprint:
            return
        if not watched.target.auth_configured or watched.target.never_call:
            return
        before, watched.hearsay.withheld_until = watched.snapshot, until
        watched.snapshot = self._snapshot(watched)
        if watched.snapshot.health is not before.health:
            self._changed(Change(owner, before, watched.snapshot))

    @property
    def is_doubting(self) -> bool:
        """Whether failures by dns, connect and timeout are not believed now (design §3 rule 7)."""
        return self._doubt.since is not None

    def statistics(self) -> Statistics:
        """How much is watched, and how late checks are."""
        return self._scheduler.statistics()

    async def run(self) -> None:
        """Check until cancelled. Targets may be set before, and stay when it ends."""
        await self._scheduler.run()

    async def _turn(self, key: tuple[str, str], due: float) -> float:
        """One check of one target; returns when the next is due."""
        owner, name = key
        watched = self._owners[owner][name]
        started, wall = self._clock.monotonic(), self._clock.wall()
        policy = watched.target.policy
        limit = policy.timeout_s + GRACE_S
        record, transition = tracker.begin(watched.record, policy, started, wall, self._rng.random(), limit)
        change = self._keep(owner, watched, record, transition)
        if _tells(change):
            self._changed(change)
        if not tracker.may_check(record):
            return record.breaker.open_until
        outcome = await self._look(watched.target, limit)
        finished, wall = self._clock.monotonic(), self._clock.wall()
        if self._owners.get(owner, {}).get(name) is not watched:
            return finished
        if finished - started > limit + STOOD_STILL_S:
            outcome = Outcome(ErrorCategory.CANCELLED)
        # A check that began late is not caught up with, or the backlog of an overload would never end.
        counted_from = max(due, started - tracker.INTERVAL_JITTER * watched.target.policy.interval_s)
        following = self._learn(owner, watched, outcome, counted_from, finished, wall)
        return min(following, override_ends(watched.record, finished, wall))

    def _learn(
        self, owner: str, watched: _Watched, outcome: Outcome, counted_from: float, finished: float, wall: float
    ) -> float:
        """Take a check's outcome; returns when the next is due."""
        target, transition, before = watched.target, None, watched.record.breaker
        believed = self._believes(owner, target, outcome, finished)
        if believed:
            record, transition = tracker.observe(watched.record, outcome, target, finished, wall, self._rng.random())
        else:
            record = tracker.doubted(watched.record, wall)
        change = self._keep(owner, watched, record, transition)
        pressed = watched.hearsay.checked(before, watched.record.breaker, finished)
        if outcome.category is not ErrorCategory.CANCELLED:
            self._changed(change)
        if pressed:
            return finished + SUSPECT_PAUSE_S
        # `changed` may have set other targets: what counts is what is watched now.
        policy = watched.target.policy
        if believed:
            return tracker.next_due(watched.record, policy, counted_from, finished, self._rng.random())
        return tracker.due_in_doubt(policy, counted_from, finished, self._rng.random())

    def _believes(self, owner: str, target: Target, outcome: Outcome, now: float) -> bool:
        """Whether the outcome counts: not one that may be our own fault, while we doubt ourselves."""
        if outcome.category is ErrorCategory.CANCELLED:
            return True
        key, before, disregarded = (owner, target.name), self.is_doubting, False
        if MEANINGS[outcome.category].doubtful:
            disregarded = self._doubt.failed(key, now)
        else:
            self._doubt.answered(key, now)
        if self.is_doubting is not before:
            self._doubt_moved()
        return not disregarded

    def _doubt_moved(self) -> None:
        if self.is_doubting:
            log.warning(
                "%d of %d backends that answered begin to fail at once: our own network is doubted, states freeze",
                self._doubt.beginning,
                self._doubt.beginning + self._doubt.answering,
            )
        else:
            log.warning("our own network is no longer doubted: failures are believed again")
        if self._doubted is not None:
            for owner in list(self._owners):
                self._doubted(owner)

    async def _look(self, target: Target, limit: float) -> Outcome:
        # What `asyncio.timeout` does, for a third of its cost.
        over, task = False, asyncio.current_task()
        assert task is not None

        def end() -> None:
            nonlocal over
            over = True
            task.cancel()

        timer = asyncio.get_running_loop().call_later(limit, end)
        try:
            return await self._check.check(target)
        except asyncio.CancelledError:
            if not over or task.uncancel() > 0:
                raise
            allowed = format_duration(target.policy.timeout_s)
            return Outcome(ErrorCategory.TIMEOUT, detail=f"no complete answer within {allowed}")
        except Exception:
            log.exception("a fault in the check of backend %s; it says nothing of the backend", target.name)
            return Outcome(ErrorCategory.CANCELLED)
        finally:
            timer.cancel()

    def _new(self, owner: str, target: Target, recalled: Snapshot | None, moved: list[Change]) -> _Watched:
        record, now, wall = Record(), self._clock.monotonic(), self._clock.wall()
        if recalled is not None and recalled.fingerprint == target.fingerprint:
            record = tracker.recall(recalled, target.policy, now, wall)
        watched = _Watched(target, record, tracker.snapshot_of(record, target))
        self._take_in(owner, watched, abide(record, target.policy, now, wall), moved)
        return watched

    def _replaced(self, owner: str, before: _Watched, target: Target, moved: list[Change]) -> _Watched:
        now, wall = self._clock.monotonic(), self._clock.wall()
        record, transition = tracker.afresh(before.record, wall)
        watched = _Watched(target, record, tracker.snapshot_of(record, target))
        if transition is not None:
            moved.append(Change(owner, before.snapshot, watched.snapshot, transition))
        self._take_in(owner, watched, abide(record, target.policy, now, wall), moved)
        return watched

    def _renew(self, owner: str, watched: _Watched, target: Target, moved: list[Change]) -> None:
        """The same backend, perhaps with another policy or note."""
        policy_before, watched.target = watched.target.policy, target
        now, policy = self._clock.monotonic(), target.policy
        self._take_in(owner, watched, tracker.adopt(watched.record, policy, now, self._clock.wall()), moved)
        if policy == policy_before:
            return
        self._observe_doubt(owner, watched)
        overrule_moved = policy.overrule != policy_before.overrule
        if overrule_moved or watched.record.breaker.circuit is not Circuit.OPEN:
            spread = 0.0 if overrule_moved else policy.interval_s * self._rng.random()
            self._hasten((owner, target.name), now + spread)

    def _take_in(self, owner: str, watched: _Watched, step: Step, moved: list[Change]) -> None:
        """Keep the next record; what it changed is told once all targets are set."""
        record, transition = step
        before, watched.record = watched.snapshot, record
        watched.snapshot = self._snapshot(watched)
        change = Change(owner, before, watched.snapshot, transition)
        if _tells(change):
            moved.append(change)

    def _begin(self, owner: str, watched: _Watched) -> None:
        target = watched.target
        if not target.never_call:
            due = self._first_due(watched.record, target.policy)
            self._scheduler.add((owner, target.name), place_of(target.url), due)
            self._observe_doubt(owner, watched)

    def _observe_doubt(self, owner: str, watched: _Watched) -> None:
        target, record = watched.target, watched.record
        host = hostname_of(target.url)
        self._doubt.watch((owner, target.name), host, target.policy.interval_s, answers=_answers(record))

    def _end(self, owner: str, target: Target) -> None:
        self._scheduler.remove((owner, target.name))
        self._doubt.forget((owner, target.name))
        self._check.forget(target)

    def _first_due(self, record: Record, policy: HealthPolicy) -> float:
        """An open circuit waits; anything else is seen soon, and not all at once.

        First checks are spread at random over 1 s for up to 1,000 targets, over 1 s more for every further
        1,000, and never over more than the interval.
        """
        if record.breaker.circuit is Circuit.OPEN:
            return record.breaker.open_until
        spread = max(FIRST_SPREAD_S, len(self._scheduler) / FIRST_PER_SECOND)
        return self._clock.monotonic() + min(spread, policy.interval_s) * self._rng.random()

    def _hasten(self, key: tuple[str, str], due: float) -> None:
        """Make a check due by then, unless it is due earlier."""
        waiting = self._scheduler.due(key)
        if waiting is None or waiting > due:
            self._scheduler.reschedule(key, due)

    def _keep(self, owner: str, watched: _Watched, record: Record, transition: Transition | None) -> Change:
        before = watched.snapshot
        if record is not watched.record:
            watched.record = record
            watched.snapshot = self._snapshot(watched)
        return Change(owner, before, watched.snapshot, transition)

    def _snapshot(self, watched: _Watched) -> Snapshot:
        record, note = watched.record, ""
        reachable_until = watched.hearsay.reachable_until
        if reachable_until and not _answers(record) and self._clock.monotonic() < reachable_until:
            note = tracker.REACHABLE_ELSEWHERE
        seen = tracker.snapshot_of(record, watched.target, note)
        return tracker.withheld(seen) if self._clock.monotonic() < watched.hearsay.withheld_until else seen


def _tells(change: Change) -> bool:
    """Whether a change that no check made is worth telling."""
    return change.transition is not None or change.before.override != change.after.override


def _answers(record: Record) -> bool:
    """Whether the backend, by what is known, answers."""
    broken = record.health in (Health.UNKNOWN, Health.UNHEALTHY)
    return not broken and record.breaker.failures == 0 and record.breaker.circuit is Circuit.CLOSED
