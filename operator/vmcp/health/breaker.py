"""The circuit breaker: a frozen value, and functions that return the next one. Time and chance are arguments.

The five legal transitions, and nothing else:

| from      | to        | because                                                                |
|-----------|-----------|------------------------------------------------------------------------|
| closed    | open      | `failure_threshold` consecutive failures, or a person forces it open   |
| open      | half-open | the open time is over, or was ended early for a named cause            |
| half-open | closed    | `success_threshold` successful trials; with the breaker off, any trial |
| half-open | open      | one failed trial, or a trial that never reported, or a person          |
| open      | closed    | a person forces it closed, the breaker was switched off, or the target |
|           |           | changed and starts a fresh record                                      |

What closes an open circuit closes a half-open one too, but for switching the breaker off: there the trial decides.
closed -> half-open does not exist: a trial follows an open time, and an early end of the open time is half-open too,
never closed: no user call is a guinea pig.
"""

from enum import StrEnum
from typing import NamedTuple

from vmcp.health.policy import BreakerPolicy
from vmcp.health.snapshot import Circuit

LEGAL = frozenset(
    {
        (Circuit.CLOSED, Circuit.OPEN),
        (Circuit.OPEN, Circuit.HALF_OPEN),
        (Circuit.HALF_OPEN, Circuit.CLOSED),
        (Circuit.HALF_OPEN, Circuit.OPEN),
        (Circuit.OPEN, Circuit.CLOSED),
    }
)

JITTER = 0.1
"""An open time is longer by up to this share, so that circuits opened together are not tried together."""


class EarlyEnd(StrEnum):
    """The causes that may end an open time before it is over."""

    TARGET_READY = "target became ready"
    TARGET_CHANGED = "target changed"
    RESET = "reset"
    PROBE_NOW = "probe now"


class Breaker(NamedTuple):
    """One circuit. Times in the monotonic clock's seconds.

    Attributes:
        failures: consecutive failed checks, in any state.
        open_until: when an open circuit may be tried; 0 unless open.
        reopenings: failed trials in a row since the circuit left closed.
        successes: successful trials of this half-open.
        trial_until: when the running trial counts as failed; 0 = no trial is running.
    """

    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    open_until: float = 0.0
    reopenings: int = 0
    successes: int = 0
    trial_until: float = 0.0


def open_time(policy: BreakerPolicy, reopenings: int, jitter: float) -> float:
    """How long the circuit stays open, in seconds; `jitter` is a random number in [0, 1)."""
    try:
        grown = policy.timeout_s * policy.backoff_multiplier**reopenings
    except OverflowError:
        grown = policy.max_timeout_s
    return min(grown, policy.max_timeout_s) * (1.0 + JITTER * jitter)


def success(breaker: Breaker, policy: BreakerPolicy) -> Breaker:
    """A check, or the running trial, succeeded. In half-open only a running trial counts."""
    circuit, failures, open_until, reopenings, successes, trial_until = breaker
    if circuit is Circuit.CLOSED:
        return breaker if failures == 0 else Breaker()
    if circuit is Circuit.OPEN or not trial_until:
        return breaker
    if successes + 1 >= policy.success_threshold:
        return _moved(breaker, Breaker())
    return Breaker(circuit, 0, open_until, reopenings, successes + 1, 0.0)


def failure(breaker: Breaker, policy: BreakerPolicy, now: float, jitter: float) -> Breaker:
    """A check, or the running trial, failed. In half-open only a running trial counts."""
    circuit, failures, _, _, _, trial_until = breaker
    if circuit is Circuit.CLOSED:
        if policy.enabled and failures + 1 >= policy.failure_threshold:
            opened = Breaker(Circuit.OPEN, failures + 1, now + open_time(policy, 0, jitter))
            return _moved(breaker, opened)
        return Breaker(circuit, failures + 1)
    if circuit is Circuit.OPEN or not trial_until:
        return breaker
    return _trial_failed(breaker, policy, now, jitter)


def nothing(breaker: Breaker) -> Breaker:
    """A check, or the running trial, ended without saying anything of the backend: another may be tried."""
    return breaker._replace(trial_until=0.0) if breaker.trial_until else breaker


def begin(breaker: Breaker, now: float, timeout: float) -> Breaker | None:
    """The breaker with a check under way that has `timeout` seconds to report; None where none may start."""
    if breaker.circuit is Circuit.CLOSED:
        return breaker
    if breaker.circuit is Circuit.OPEN or breaker.trial_until:
        return None
    return breaker._replace(trial_until=now + timeout)


def passing(breaker: Breaker, policy: BreakerPolicy, now: float, jitter: float) -> Breaker:
    """What time alone does: an open time ends, a trial that did not report has failed; off means not open."""
    if breaker.circuit is Circuit.CLOSED:
        return breaker
    if breaker.circuit is Circuit.OPEN:
        if not policy.enabled:
            return closed(breaker)
        return half_opened(breaker) if now >= breaker.open_until else breaker
    if breaker.trial_until and now >= breaker.trial_until:
        return _trial_failed(breaker, policy, now, jitter)
    return breaker


def forced_open(breaker: Breaker, until: float) -> Breaker:
    """Open until then (monotonic seconds, infinity = until told otherwise), whatever it was; counts are kept."""
    after = Breaker(Circuit.OPEN, breaker.failures, until, breaker.reopenings)
    return after if breaker.circuit is Circuit.OPEN else _moved(breaker, after)


def closed(breaker: Breaker) -> Breaker:
    """Closed without a trial, because the breaker has no say any more; failures are kept."""
    return breaker if breaker.circuit is Circuit.CLOSED else _moved(breaker, Breaker(failures=breaker.failures))


def end_open_time(breaker: Breaker, cause: EarlyEnd) -> Breaker:
    """End an open time early. A reset also forgets the counts, in any state. A running trial runs on."""
    if cause is EarlyEnd.RESET:
        breaker = breaker._replace(failures=0, reopenings=0)
    return half_opened(breaker) if breaker.circuit is Circuit.OPEN else breaker


def half_opened(breaker: Breaker) -> Breaker:
    """An open circuit whose open time is over: the next check is a trial."""
    return _moved(breaker, Breaker(Circuit.HALF_OPEN, breaker.failures, reopenings=breaker.reopenings))


def _trial_failed(breaker: Breaker, policy: BreakerPolicy, now: float, jitter: float) -> Breaker:
    if not policy.enabled:
        return _moved(breaker, Breaker(failures=breaker.failures + 1))
    return _reopened(breaker, policy, now, jitter)


def _reopened(breaker: Breaker, policy: BreakerPolicy, now: float, jitter: float) -> Breaker:
    reopenings = breaker.reopenings + 1
    until = now + open_time(policy, reopenings, jitter)
    return _moved(breaker, Breaker(Circuit.OPEN, breaker.failures + 1, until, reopenings))


def _moved(before: Breaker, after: Breaker) -> Breaker:
    if (before.circuit, after.circuit) not in LEGAL:
        raise ValueError(f"a circuit does not go from {before.circuit} to {after.circuit}")
    return after
