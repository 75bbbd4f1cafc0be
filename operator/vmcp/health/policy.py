"""How a backend is judged: intervals, thresholds and the breaker's times. All times in seconds."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from vmcp.api.duration import parse_duration
from vmcp.api.operational import BackendOverride, CircuitBreaker, FailureHandling, OverrideMode

INTERVAL_MIN_S = 1.0
"""No backend is checked more often than this as a rule, whatever a stored object says."""

_LATEST_S = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
"""Rounded up, what is meant as for ever would be in a year that no status can tell."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a circuit opens and how long it stays open (design: `failureHandling.circuitBreaker`)."""

    enabled: bool = False
    failure_threshold: int = 5
    timeout_s: float = 60.0
    backoff_multiplier: float = 2.0
    max_timeout_s: float = 300.0
    success_threshold: int = 1


@dataclass(frozen=True, slots=True)
class Overrule:
    """What a person orders for one backend (design §3 rule 8). `until` is wall clock, None = no end."""

    mode: OverrideMode
    until: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a backend is checked and how its answers are read (design: `failureHandling`).

    Attributes:
        interval_s: between checks of a backend that is steady.
        timeout_s: a check without a complete answer by then has failed.
        unhealthy_threshold: consecutive failures that make a backend unhealthy.
        fast_interval_s: between checks while failures count towards a threshold and in half-open; 0 = as
            `interval_s`.
        degraded_latency_s: an answer slower than this makes the backend degraded.
        overrule: what a person orders; it counts until its time is over.
    """

    interval_s: float = 30.0
    timeout_s: float = 10.0
    unhealthy_threshold: int = 3
    fast_interval_s: float = 2.0
    degraded_latency_s: float = 5.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    overrule: Overrule | None = None


_DEFAULT = HealthPolicy()


def policy_of(spec: FailureHandling | None, backend: str = "") -> HealthPolicy:
    """The policy that `failureHandling` asks for, for that backend; unset fields have their documented defaults.

    What validation refuses elsewhere (a timeout above the interval, a threshold of 0) is taken as far as it
    makes sense, since objects stored before a rule existed are still watched.

    Raises:
        ValueError: a duration cannot be parsed.
    """
    spec = spec or FailureHandling.model_validate({})
    override = spec.override_of(backend)
    spec = spec.of_backend(backend)
    interval = max(_seconds(spec.health_check_interval) or _DEFAULT.interval_s, INTERVAL_MIN_S)
    fast = _seconds(spec.fast_interval)
    return HealthPolicy(
        interval_s=interval,
        timeout_s=_seconds(spec.health_check_timeout) or min(_DEFAULT.timeout_s, interval / 2),
        unhealthy_threshold=max(spec.unhealthy_threshold, 1),
        fast_interval_s=min(_DEFAULT.fast_interval_s if fast is None else fast, interval),
        degraded_latency_s=_seconds(spec.degraded_latency) or _DEFAULT.degraded_latency_s,
        breaker=_breaker_of(spec.circuit_breaker or CircuitBreaker.model_validate({})),
        overrule=None if override is None else _overrule_of(override),
    )


def _breaker_of(spec: CircuitBreaker) -> BreakerPolicy:
    timeout = _seconds(spec.timeout) or _DEFAULT.breaker.timeout_s
    multiplier = spec.backoff_multiplier
    return BreakerPolicy(
        enabled=spec.enabled,
        failure_threshold=max(spec.failure_threshold, 1),
        timeout_s=timeout,
        backoff_multiplier=_DEFAULT.breaker.backoff_multiplier if multiplier is None else max(multiplier, 1.0),
        max_timeout_s=max(_seconds(spec.max_timeout) or _DEFAULT.breaker.max_timeout_s, timeout),
        success_threshold=max(spec.success_threshold or 1, 1),
    )


def _overrule_of(spec: BackendOverride) -> Overrule:
    until = min(spec.until.timestamp(), _LATEST_S) if spec.until else None
    return Overrule(spec.mode, until, spec.reason or "")


def _seconds(text: str | None) -> float | None:
    return parse_duration(text) if text else None
