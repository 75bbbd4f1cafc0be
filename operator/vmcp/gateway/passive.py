"""The local breaker: what the calls of clients show of a backend counts at once, for this replica only (design §6).

The idea: the health engine's breaker and its monitor, fed by calls. `LOCAL_FAILURES` failed calls in a row open the
circuit (fewer where `failureThreshold` is lower): from then on calls fail fast. The operator is told, and looks itself.
A monitor of its own waits out the open time and tries the backend by the gateway's probe, never by a user's call.

The opening ends when such a trial succeeds, or as soon as the operator's word on the backend changes, whatever it says
then: it has looked since. There is no local breaker where the policy has none, or while a person overrules it.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Protocol

from vmcp.api.category import ErrorCategory
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.upstream import Upstream
from vmcp.health import breaker as circuits
from vmcp.health.breaker import Breaker
from vmcp.health.clock import Clock, SystemClock
from vmcp.health.monitor import Change, Check, Monitor
from vmcp.health.policy import BreakerPolicy
from vmcp.health.snapshot import Circuit, Health, Snapshot, Transition
from vmcp.health.target import Target
from vmcp.mcp.answers import GATEWAY_ERRORS
from vmcp.mcp.backend import BackendError

LOCAL_FAILURES: Final = 3
"""Failed calls in a row that open the circuit here, at most: a person waits for each, and for no probe."""

FIRST_TRIAL_S: Final = 2.0
"""A locally opened circuit is tried after this, then after twice as long each time, up to the policy's timeout."""

TELL_REACHED_S: Final = 10.0
"""That a backend is reached which fails for the operator is told no more often than this."""

REACHED_LATELY_S: Final = 60.0
"""An answer older than this is no news."""

_OWNER: Final = "local breaker"


class Reading(StrEnum):
    """What a call that got no result shows of the backend."""

    FAILED = "failed"
    REACHED = "reached"
    NOTHING = "nothing"


def reading_of(error: BackendError) -> Reading:
    """How an error reads that came before the backend began to answer the call.

    Only connect, TLS, a reset before the head, and a 502, 503 or 504 that the backend did not say itself count. A
    timeout does not: a slow tool is no dead backend. Nor does the name service, which fails for all backends at once.
    """
    if error.http_status is None:
        return Reading.FAILED if error.category in (ErrorCategory.CONNECT, ErrorCategory.TLS) else Reading.NOTHING
    return Reading.FAILED if error.http_status in GATEWAY_ERRORS and not error.spoke else Reading.REACHED


class Confidant(Protocol):
    """Whoever should look at a backend itself, or know that it is reached."""

    def failed(self, name: str, fingerprint: str, failures: int) -> None:
        """So many calls in a row failed. Returns at once."""

    def reached(self, name: str, fingerprint: str, at: float) -> None:
        """Calls succeed to a backend that is said to fail; the last at that time, monotonic. Returns at once."""


class Ear(Protocol):
    """Hears how calls go."""

    def reached(self, upstream: Upstream) -> None:
        """The backend began to answer a call."""

    def failed(self, upstream: Upstream, error: BackendError) -> None:
        """A call ended before the backend began to answer it."""


@dataclass(slots=True, eq=False)
class _Guarded:
    """A backend and what its calls showed. Monotonic seconds.

    Attributes:
        word: what the operator said of it when the circuit opened here.
        fails_elsewhere: the operator, or the own monitor, says that it fails.
    """

    upstream: Upstream
    target: Target
    breaker: Breaker = field(default_factory=Breaker)
    word: object = None
    reached_at: float = -math.inf
    failed_at: float = -math.inf
    told_at: float = -math.inf
    fails_elsewhere: bool = False


class Passive:
    """The local breakers of all backends.

    Attributes:
        on_news: told the name of a backend when calls begin, or cease, to raise doubts about it.

    Args:
        guard: is given what a local breaker says of a backend by now, None = it keeps nothing out.
        check: the gateway's own probe.
        tell: hears of the first failure in a row, of each opening, and of backends that are reached against the
            operator's word.
    """

    def __init__(
        self,
        *,
        guard: Callable[[str, Snapshot | None], None],
        metrics: Metrics,
        check: Check,
        tell: Confidant,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.on_news: Callable[[str], None] = lambda name: None
        self._guard = guard
        self._metrics = metrics
        self._tell = tell
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._guarded: dict[str, _Guarded] = {}
        self._trials = Monitor(check=check, changed=self._tried, clock=self._clock, rng=self._rng)

    def configure(self, upstreams: Mapping[str, Upstream], targets: Sequence[Target]) -> None:
        """Guard calls to these from now on; what is known of an upstream that stays is kept."""
        before, self._guarded = self._guarded, {}
        for target in targets:
            kept = before.get(target.name)
            if kept is None or kept.upstream is not upstreams[target.name]:
                self._guarded[target.name] = _Guarded(upstreams[target.name], target)
                continue
            del before[target.name]
            self._guarded[target.name] = kept
            kept.target = target
            if kept.breaker.circuit is not Circuit.CLOSED:
                if target.policy.breaker.enabled:
                    self._trials.set_targets(target.name, [_on_trial(target)])
                else:
                    self._end(kept)
        for name in before:
            self._trials.forget(name)

    def reached(self, upstream: Upstream) -> None:
        """The backend began to answer a call, whatever it answers."""
        guarded = self._guarded.get(upstream.name)
        if guarded is None or guarded.upstream is not upstream:
            return
        guarded.reached_at = self._clock.monotonic()
        if guarded.breaker.failures and guarded.breaker.circuit is Circuit.CLOSED:
            guarded.breaker = circuits.success(guarded.breaker, guarded.target.policy.breaker)
            self.on_news(upstream.name)
        if guarded.fails_elsewhere:
            self._tell_reached(guarded)

    def failed(self, upstream: Upstream, error: BackendError) -> None:
        """A call ended before the backend began to answer it."""
        guarded = self._guarded.get(upstream.name)
        reading = reading_of(error)
        if guarded is None or guarded.upstream is not upstream or reading is Reading.NOTHING:
            return
        if reading is Reading.REACHED:
            self.reached(upstream)
            return
        now, policy = self._clock.monotonic(), local_policy(guarded.target.policy.breaker)
        guarded.failed_at = now
        # Calls that were under way when the circuit opened are no trials.
        if not policy.enabled or upstream.told.override is not None or not upstream.usable:
            return
        guarded.breaker = circuits.failure(guarded.breaker, policy, now, self._rng.random())
        if guarded.breaker.circuit is Circuit.OPEN:
            self._open(guarded, error, now)
        if guarded.breaker.circuit is Circuit.OPEN or guarded.breaker.failures == 1:
            self.on_news(upstream.name)
            self._tell.failed(upstream.name, upstream.fingerprint, guarded.breaker.failures)

    def heard(self, name: str) -> None:
        """The operator, or the own monitor in its place, has spoken of this backend: see `Upstream.told`."""
        guarded = self._guarded.get(name)
        if guarded is None:
            return
        told = guarded.upstream.told
        if guarded.breaker.circuit is not Circuit.CLOSED and _word(told) != guarded.word:
            self._end(guarded)
        broken = told.circuit is not Circuit.CLOSED or told.health is Health.UNHEALTHY
        guarded.fails_elsewhere = broken or told.consecutive_failures > 0
        self.on_news(name)
        if guarded.fails_elsewhere and guarded.reached_at > guarded.told_at:
            self._tell_reached(guarded)

    def answered(self, name: str) -> None:
        """The gateway's own monitor has just seen this backend answer."""
        guarded = self._guarded.get(name)
        if guarded is not None and guarded.breaker.circuit is not Circuit.CLOSED:
            self._end(guarded)

    def doubts(self, name: str) -> bool:
        """Whether the next call that reaches this backend is of interest."""
        guarded = self._guarded.get(name)
        return guarded is not None and (guarded.fails_elsewhere or guarded.breaker.failures > 0)

    async def run(self) -> None:
        """Try what is out, when its time is over, until cancelled."""
        await self._trials.run()

    def _open(self, guarded: _Guarded, error: BackendError, now: float) -> None:
        breaker, target, wall = guarded.breaker, guarded.target, self._clock.wall()
        why = f"{breaker.failures} calls in a row did not reach it: {error}"
        seen = Snapshot(
            name=target.name,
            url=target.url,
            fingerprint=target.fingerprint,
            health=Health.UNHEALTHY,
            circuit=breaker.circuit,
            circuit_changed_at=wall,
            open_until=wall + breaker.open_until - now,
            consecutive_failures=breaker.failures,
            health_changed_at=wall,
            category=error.category,
            detail=why,
            transitions=(Transition(wall, Circuit.CLOSED, Circuit.OPEN, why.rstrip(".")),),
        )
        guarded.word = _word(guarded.upstream.told)
        self._metrics.opened_locally(target.name)
        self._trials.set_targets(target.name, [_on_trial(target)], {target.name: seen})
        self._show(target.name)

    def _tried(self, change: Change) -> None:
        guarded = self._guarded.get(change.owner)
        if guarded is None or guarded.breaker.circuit is Circuit.CLOSED:
            return
        if change.after.circuit is Circuit.CLOSED:
            self._end(guarded)
        else:
            self._show(change.owner)

    def _show(self, name: str) -> None:
        (local,) = self._trials.snapshots(name)
        self._guard(name, local)

    def _end(self, guarded: _Guarded) -> None:
        guarded.breaker, guarded.word = Breaker(), None
        self._trials.forget(guarded.target.name)
        self._guard(guarded.target.name, None)

    def _tell_reached(self, guarded: _Guarded) -> None:
        now = self._clock.monotonic()
        lately = guarded.reached_at > max(guarded.failed_at, now - REACHED_LATELY_S)
        if lately and now - guarded.told_at >= TELL_REACHED_S:
            guarded.told_at = now
            self._tell.reached(guarded.target.name, guarded.target.fingerprint, guarded.reached_at)


def local_policy(policy: BreakerPolicy) -> BreakerPolicy:
    """The backend's policy, but that `LOCAL_FAILURES` failures are enough, and that it is tried again soon.

    A blip may be over before the operator sees it: then nobody but this trial brings the backend back.
    """
    return replace(
        policy,
        failure_threshold=min(LOCAL_FAILURES, policy.failure_threshold),
        timeout_s=min(FIRST_TRIAL_S, policy.timeout_s),
        max_timeout_s=policy.timeout_s,
    )


def _on_trial(target: Target) -> Target:
    """The target for the trials: with a session of its own, and nobody's orders."""
    policy = replace(target.policy, overrule=None, breaker=local_policy(target.policy.breaker))
    return replace(target, owner=_OWNER, policy=policy)


def _word(told: Snapshot) -> object:
    """What of a snapshot changes only when somebody has looked at the backend, or gave an order."""
    return told.health, told.circuit, told.circuit_changed_at, told.override
