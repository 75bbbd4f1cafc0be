from typing import Any

import pytest

from vmcp.api.operational import FailureHandling, OverrideMode
from vmcp.health.policy import BreakerPolicy, HealthPolicy, Overrule, policy_of


def parsed(**spec: Any) -> HealthPolicy:
    return policy_of(FailureHandling.model_validate(spec))


def test_unset_means_the_documented_defaults() -> None:
    assert policy_of(None) == HealthPolicy()
    assert policy_of(FailureHandling.model_validate({})) == HealthPolicy()


def test_every_field_is_read() -> None:
    policy = parsed(
        healthCheckInterval="1m30s",
        healthCheckTimeout="1.5s",
        unhealthyThreshold=7,
        fastInterval="500ms",
        degradedLatency="3s",
        circuitBreaker={
            "enabled": True,
            "failureThreshold": 2,
            "timeout": "20s",
            "backoffMultiplier": 1.5,
            "maxTimeout": "2m",
            "successThreshold": 4,
        },
    )
    assert policy == HealthPolicy(90.0, 1.5, 7, 0.5, 3.0, BreakerPolicy(True, 2, 20.0, 1.5, 120.0, 4))


@pytest.mark.parametrize(
    ("spec", "field", "seconds"),
    [
        ({"healthCheckInterval": "5s"}, "timeout_s", 2.5),
        ({"healthCheckInterval": "60s"}, "timeout_s", 10.0),
        ({"healthCheckInterval": "1s"}, "fast_interval_s", 1.0),
        ({"fastInterval": "10s", "healthCheckInterval": "5s"}, "fast_interval_s", 5.0),
        ({"fastInterval": "0s"}, "fast_interval_s", 0.0),
    ],
)
def test_what_depends_on_the_interval(spec: dict[str, str], field: str, seconds: float) -> None:
    assert getattr(parsed(**spec), field) == seconds


@pytest.mark.parametrize(
    ("breaker", "longest"),
    [({"timeout": "60s"}, 300.0), ({"timeout": "20m"}, 1200.0), ({"maxTimeout": "90s"}, 90.0)],
)
def test_the_longest_open_time(breaker: dict[str, str], longest: float) -> None:
    assert parsed(circuitBreaker=breaker).breaker.max_timeout_s == longest


def test_what_validation_refuses_is_taken_as_far_as_it_makes_sense() -> None:
    stored = FailureHandling.model_validate({}).model_copy(
        update={"health_check_interval": "0s", "health_check_timeout": "40s", "unhealthy_threshold": 0}
    )
    policy = policy_of(stored)
    assert (policy.interval_s, policy.timeout_s, policy.unhealthy_threshold) == (30.0, 40.0, 1)


@pytest.mark.parametrize("text", ["5", "-5s", "1e9h", "soon"])
def test_a_duration_that_is_none_is_an_error_that_says_what_one_looks_like(text: str) -> None:
    broken = FailureHandling.model_validate({}).model_copy(update={"health_check_interval": text})
    with pytest.raises(ValueError, match="such as 30s"):
        policy_of(broken)


def test_a_backend_has_its_own_policy_over_that_of_all() -> None:
    handling = FailureHandling.model_validate(
        {
            "healthCheckInterval": "20s",
            "unhealthyThreshold": 4,
            "circuitBreaker": {"enabled": True, "failureThreshold": 7},
            "perBackend": {
                "search": {
                    "healthCheckInterval": "5s",
                    "degradedLatency": "1s",
                    "circuitBreaker": {"timeout": "30s", "successThreshold": 2},
                    "override": {"mode": "forcedOpen", "until": "2027-01-15T08:00:00Z", "reason": "moving"},
                },
                "quiet": {"circuitBreaker": {"enabled": False}, "fastInterval": "0s"},
            },
        }
    )
    search, quiet, other = (policy_of(handling, name) for name in ("search", "quiet", "other"))
    assert (search.interval_s, search.timeout_s, search.unhealthy_threshold) == (5.0, 2.5, 4)
    assert search.degraded_latency_s == 1.0
    assert search.breaker == BreakerPolicy(True, 7, 30.0, 2.0, 300.0, 2)
    assert search.overrule == Overrule(OverrideMode.FORCED_OPEN, 1_800_000_000.0, "moving")
    assert (quiet.interval_s, quiet.fast_interval_s, quiet.breaker.enabled) == (20.0, 0.0, False)
    assert other == policy_of(handling)
    assert other.overrule is None


def test_a_breaker_for_one_backend_alone() -> None:
    handling = FailureHandling.model_validate({"perBackend": {"search": {"circuitBreaker": {"enabled": True}}}})
    assert policy_of(handling, "search").breaker == BreakerPolicy(enabled=True)
    assert not policy_of(handling, "other").breaker.enabled
