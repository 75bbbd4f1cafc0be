"""`spec.config.operational`: timeouts, health checks, circuit breaking."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from vmcp.api.model import ApiModel, DurationRange, Instant, cel, duration_order, rules

MAX_PER_BACKEND = 100

Interval = Annotated[str, DurationRange("1s")]
Timeout = Annotated[str, DurationRange("1ms")]
Pause = Annotated[str, DurationRange("0s")]
CircuitTimeout = Annotated[
    str,
    DurationRange(
        "1s",
        # The message of the compatible rule, kept for those who look for it.
        also=(
            (
                "self == '' || self.matches('[0-9]{7}') || duration(self) >= duration('1s')",
                "timeout must be >= 1s",
            ),
        ),
    ),
]


class LogLevel(StrEnum):
    """How much the gateway logs."""

    DEBUG = "debug"


class PartialFailureMode(StrEnum):
    """What a listing does when a usable backend fails to list."""

    FAIL = "fail"
    BEST_EFFORT = "best_effort"


class Timeouts(ApiModel):
    """How long calls to backends may take."""

    default: Timeout = Field(
        "30s", description="Time allowed for one call to a backend, as a duration such as 30s. Default 30s."
    )
    per_workload: dict[str, Timeout] | None = Field(
        None,
        max_length=1000,
        description="Time allowed per backend, by backend name; overrides the default for that backend.",
    )


class CircuitBreaker(ApiModel):
    """Takes a failing backend out of use at once and lets it back in only after it has proved itself.

    Unset = off. States of a circuit are closed (in use), open (out of use, nothing is sent to it until the
    open time is over) and half-open (only health checks try it; one failure opens it again, for longer).
    """

    model_config = rules(
        cel(
            duration_order("maxTimeout", ">=", "timeout"),
            "maxTimeout must not be shorter than timeout; raise maxTimeout or lower timeout",
        )
    )

    enabled: bool = Field(
        False,
        description="Whether the circuit breaker is on. Off (the default), the circuit is always closed and "
        "unhealthyThreshold alone decides whether a backend is used.",
    )
    failure_threshold: int = Field(
        5,
        ge=1,
        le=1000,
        description="Consecutive failed checks that open the circuit, 1 to 1000. Default 5.",
    )
    timeout: CircuitTimeout = Field(
        "60s",
        description="Open time: how long an open circuit stays open before the backend is tried again, "
        "from 1s to "
        "24h. Default 60s. It grows by backoffMultiplier with each reopening in a row.",
    )
    backoff_multiplier: float | None = Field(
        None,
        ge=1,
        le=10,
        description="Factor by which the open time grows with each reopening in a row, 1 to 10. Unset = 2; "
        "1 = always the same open time.",
    )
    max_timeout: CircuitTimeout | None = Field(
        None,
        description="Longest open time that reopenings may lead to, from 1s to 24h and not shorter than "
        "timeout. "
        "Unset = 5m, or timeout where that is longer.",
    )
    success_threshold: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Consecutive successful checks that close a half-open circuit, 1 to 1000. Unset = 1.",
    )


class OverrideMode(StrEnum):
    """How a person overrules what checks would decide."""

    FORCED_OPEN = "forcedOpen"
    """Out of use and not checked; at its end the backend has to prove itself first."""
    FORCED_CLOSED = "forcedClosed"
    """In use whatever checks say; health is shown as measured."""
    DISABLED = "disabled"
    """No circuit breaker; unhealthyThreshold alone decides."""


class BackendOverride(ApiModel):
    """A person's word on one backend, which counts more than its checks."""

    mode: OverrideMode = Field(
        description="forcedOpen = out of use and not checked; when it ends, one check has to succeed first. "
        "forcedClosed = in use whatever checks say, health is shown as measured. disabled = its circuit stays "
        "closed, unhealthyThreshold alone decides."
    )
    until: Instant | None = Field(
        None, description="When it ends by itself, such as 2026-01-31T04:00:00Z. Unset = when it is removed."
    )
    reason: str | None = Field(
        None, max_length=256, description="Why, in a sentence; shown in the status. Never a secret."
    )


class BackendCircuitBreaker(ApiModel):
    """The circuit breaker of one backend: what is unset is as in failureHandling.circuitBreaker."""

    model_config = rules(
        cel(
            duration_order("maxTimeout", ">=", "timeout"),
            "maxTimeout must not be shorter than timeout; raise maxTimeout or lower timeout",
        )
    )

    enabled: bool | None = Field(None, description="Whether the circuit breaker is on.")
    failure_threshold: int | None = Field(
        None, ge=1, le=1000, description="Consecutive failed checks that open the circuit, 1 to 1000."
    )
    timeout: CircuitTimeout | None = Field(None, description="Open time before the backend is tried again.")
    backoff_multiplier: float | None = Field(
        None, ge=1, le=10, description="Factor by which the open time grows with each reopening in a row."
    )
    max_timeout: CircuitTimeout | None = Field(
        None, description="Longest open time that reopenings may lead to, not shorter than timeout."
    )
    success_threshold: int | None = Field(
        None, ge=1, le=1000, description="Consecutive successful checks that close a half-open circuit."
    )


class BackendFailureHandling(ApiModel):
    """How one backend is checked: what is unset is as in failureHandling."""

    model_config = rules(
        cel(
            duration_order("healthCheckTimeout", "<", "healthCheckInterval"),
            "healthCheckTimeout must be shorter than healthCheckInterval; lower the timeout or raise the interval",
        )
    )

    health_check_interval: Interval | None = Field(None, description="Time between two checks, from 1s to 24h.")
    health_check_timeout: Timeout | None = Field(
        None, description="Time allowed for one check, shorter than the interval."
    )
    unhealthy_threshold: int | None = Field(
        None, ge=1, le=1000, description="Consecutive failed checks after which the backend is unavailable."
    )
    fast_interval: Pause | None = Field(
        None,
        description="Time until the next check while failures are counting and while the circuit is half-open.",
    )
    degraded_latency: Timeout | None = Field(
        None, description="A successful check that took longer than this makes the backend degraded."
    )
    circuit_breaker: BackendCircuitBreaker | None = None
    override: BackendOverride | None = None


class FailureHandling(ApiModel):
    """How backends are checked, and when one is no longer used."""

    model_config = rules(
        cel(
            duration_order("healthCheckTimeout", "<", "healthCheckInterval"),
            "healthCheckTimeout must be shorter than healthCheckInterval (default 30s); "
            "lower the timeout or raise the interval",
        )
    )

    health_check_interval: Interval = Field(
        "30s",
        description="Time between two checks of one backend, from 1s to 24h. Default 30s. Checks are "
        "spread and "
        "jittered, so that backends are not checked all at once.",
    )
    health_check_timeout: Timeout | None = Field(
        None,
        description="Time allowed for one check, shorter than healthCheckInterval. Unset = 10s or half the "
        "interval, whichever is smaller.",
    )
    unhealthy_threshold: int = Field(
        3,
        ge=1,
        le=1000,
        description="Consecutive failed checks after which a backend is unavailable, 1 to 1000. Default 3. "
        "An open circuit makes it unavailable at once.",
    )
    fast_interval: Pause | None = Field(
        None,
        description="Time until the next check while failures are counting towards a threshold and while a "
        "circuit "
        "is half-open, never more than healthCheckInterval. Unset = 2s; 0s = off, every check waits the full "
        "interval.",
    )
    degraded_latency: Timeout | None = Field(
        None,
        description="A successful check that took longer than this makes the backend degraded: still used, "
        "and "
        "shown as slow. Unset = 5s.",
    )
    status_reporting_interval: Interval | None = Field(
        None,
        description="How often status is written when nothing changed, from 1s to 24h; changes are written "
        "at once. "
        "Unset = 5m, and 30s, the former default that stored objects carry, means unset too.",
    )
    partial_failure_mode: PartialFailureMode = Field(
        PartialFailureMode.FAIL,
        description="What a listing does when a usable backend fails to list and no earlier list of it is "
        "cached. "
        "fail (the default): the listing fails. best_effort: it is answered without that backend. Backends "
        "that "
        "are out of use are left out in both modes.",
    )
    circuit_breaker: CircuitBreaker | None = None
    per_backend: dict[str, BackendFailureHandling] | None = Field(
        None,
        max_length=MAX_PER_BACKEND,
        description="What is different for one backend, by backend name, for at most 100 of them. A name that no "
        "backend has is named in the condition BackendOverridesMatched.",
    )

    def of_backend(self, name: str) -> "FailureHandling":
        """How that backend is checked: its own fields over those of all."""
        own = (self.per_backend or {}).get(name)
        if own is None:
            return self
        breaker = self.circuit_breaker
        if own.circuit_breaker is not None:
            breaker = (breaker or CircuitBreaker.model_validate({})).model_copy(update=_given(own.circuit_breaker))
        given = {field: value for field, value in _given(own).items() if field not in ("circuit_breaker", "override")}
        return self.model_copy(update={**given, "circuit_breaker": breaker})

    def override_of(self, name: str) -> BackendOverride | None:
        """What a person overrules of that backend, whether or not its time is over."""
        own = (self.per_backend or {}).get(name)
        return None if own is None else own.override


def _given(model: ApiModel) -> dict[str, object]:
    return {field: value for field, value in model if value is not None}


class Operational(ApiModel):
    """How the gateway and the health checks of its backends behave."""

    log_level: LogLevel | None = Field(None, description="debug = log more. Unset = the usual amount.")
    timeouts: Timeouts | None = Field(None, description="How long calls to backends may take.")
    failure_handling: FailureHandling | None = Field(
        None,
        description="How backends are checked, and when one is no longer used. Unset = all its defaults.",
    )
