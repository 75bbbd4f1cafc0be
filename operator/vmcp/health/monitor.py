"""Watches backends: checks each when it is due, keeps its record, tells of every change.

The operator and the standalone gateway run the same one.
"""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from vmcp.api.category import ErrorCategory
from vmcp.api.duration import format_duration
from vmcp.health import tracker
from vmcp.health.breaker import EarlyEnd
from vmcp.health.clock import Clock, SystemClock
from vmcp.health.outcome import Outcome
from vmcp.health.policy import HealthPolicy
from vmcp.health.scheduler import Scheduler, Statistics
from vmcp.health.snapshot import Circuit, Snapshot, Transition
from vmcp.health.target import Target
from vmcp.health.tracker import Record

log = logging.getLogger(__name__)

GRACE_S = 0.5
"""A check keeps its own timeout; after this much more it is taken for one that will never report."""

STOOD_STILL_S = 1.0
"""A check that took this much longer than it can was held up by us, and says nothing of the backend."""

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
    """A backend under watch: the latest target, record and snapshot."""

    target: Target
    record: Record
    snapshot: Snapshot


class Monitor:
    """Every target of every owner (a VirtualMCPServer's UID), each checked at its own due time.

    Args:
        check: how to look at a backend.
        changed: told of every finished check and every transition; called from the loop, and from
            `set_targets` and `end_open_time` where these move a circuit. It must return at once.
        concurrency: checks under way at once.
        per_host: of these, on one host and port.
    """

    def __init__(
        self,
        *,
        check: Check,
        changed: Callable[[Change], None],
        clock: Clock | None = None,
        rng: random.Random | None = None,
        concurrency: int = 512,
        per_host: int = 32,
    ) -> None:
        self._check = check
        self._changed = changed
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._owners: dict[str, dict[str, _Watched]] = {}
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
                now[name] = self._new(target, (recalled or {}).get(name))
                self._begin(owner, now[name])
            elif not _is_same(before.target, target):
                self._end(owner, before.target)
                now[name] = self._replaced(owner, before, target, moved)
                self._begin(owner, now[name])
            elif _is_reached_alike(before.target, target):
                now[name] = before
                self._renew(owner, before, target, moved)
            else:
                self._end(owner, before.target)
                now[name] = _Watched(target, tracker.undecided(before.record), before.snapshot)
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
        """End an open time early for a named cause, and make a check due now whatever the circuit's state."""
        watched = self._owners.get(owner, {}).get(name)
        if watched is None or watched.target.never_call:
            return
        now, wall = self._clock.monotonic(), self._clock.wall()
        record, transition = tracker.end_open_time(watched.record, watched.target.policy, cause, now, wall)
        change = self._keep(owner, watched, record, transition)
        self._hasten((owner, name), now)
        if transition is not None:
            self._changed(change)

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
        if transition is not None:
            self._changed(change)
        if not tracker.may_check(record):
            return record.breaker.open_until
        outcome = await self._look(watched.target, limit)
        finished, wall = self._clock.monotonic(), self._clock.wall()
        if self._owners.get(owner, {}).get(name) is not watched:
            return finished
        if finished - started > limit + STOOD_STILL_S:
            outcome = Outcome(ErrorCategory.CANCELLED)
        record, transition = tracker.observe(
            watched.record, outcome, watched.target, finished, wall, self._rng.random()
        )
        change = self._keep(owner, watched, record, transition)
        if outcome.category is not ErrorCategory.CANCELLED:
            self._changed(change)
        policy = watched.target.policy
        # A check that began late is not caught up with, or the backlog of an overload would never end.
        counted_from = max(due, started - tracker.INTERVAL_JITTER * policy.interval_s)
        return tracker.next_due(watched.record, policy, counted_from, finished, self._rng.random())

    async def _look(self, target: Target, limit: float) -> Outcome:
        try:
            async with asyncio.timeout(limit):
                return await self._check.check(target)
        except TimeoutError:
            allowed = format_duration(target.policy.timeout_s)
            return Outcome(ErrorCategory.TIMEOUT, detail=f"no complete answer within {allowed}")
        except Exception:
            log.exception("a fault in the check of backend %s; it says nothing of the backend", target.name)
            return Outcome(ErrorCategory.CANCELLED)

    def _new(self, target: Target, recalled: Snapshot | None) -> _Watched:
        record = Record()
        if recalled is not None and recalled.fingerprint == target.fingerprint:
            now, wall = self._clock.monotonic(), self._clock.wall()
            record = tracker.recall(recalled, target.policy, now, wall)
        return _Watched(target, record, tracker.snapshot_of(record, target))

    def _replaced(self, owner: str, before: _Watched, target: Target, moved: list[Change]) -> _Watched:
        record, transition = tracker.afresh(before.record, self._clock.wall())
        after = _Watched(target, record, tracker.snapshot_of(record, target))
        if transition is not None:
            moved.append(Change(owner, before.snapshot, after.snapshot, transition))
        return after

    def _renew(self, owner: str, watched: _Watched, target: Target, moved: list[Change]) -> None:
        """The same backend, perhaps with another policy or note."""
        policy_before, watched.target = watched.target.policy, target
        now, policy = self._clock.monotonic(), target.policy
        record, transition = tracker.adopt(watched.record, policy, now, self._clock.wall())
        before, watched.record = watched.snapshot, record
        watched.snapshot = tracker.snapshot_of(record, target)
        if transition is not None:
            moved.append(Change(owner, before, watched.snapshot, transition))
        if policy != policy_before and record.breaker.circuit is not Circuit.OPEN:
            self._hasten((owner, target.name), now + policy.interval_s * self._rng.random())

    def _begin(self, owner: str, watched: _Watched) -> None:
        target = watched.target
        if not target.never_call:
            due = self._first_due(watched.record, target.policy)
            self._scheduler.add((owner, target.name), _host_of(target.url), due)

    def _end(self, owner: str, target: Target) -> None:
        self._scheduler.remove((owner, target.name))
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
            watched.snapshot = tracker.snapshot_of(record, watched.target)
        return Change(owner, before, watched.snapshot, transition)


def _is_same(before: Target, after: Target) -> bool:
    """Whether the record is kept."""
    return before.fingerprint == after.fingerprint and bool(before.never_call) == bool(after.never_call)


def _is_reached_alike(before: Target, after: Target) -> bool:
    """Whether what the check keeps open may stay open."""
    return (before.url, before.wire, before.headers, before.peer) == (
        after.url,
        after.wire,
        after.headers,
        after.peer,
    )


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return url
