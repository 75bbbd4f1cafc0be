"""A bad spec becomes problems that name the field and the fix, and never an exception."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api.manifests import BAD, GOOD, Row
from tests.api.samples import config, handling, vmcp

from vmcp.api.problem import Problem, summary
from vmcp.api.unsupported import fail_closed, left_out, outgoing_auth_problem
from vmcp.api.validation import url_problem, validate

HANDLING = "spec.config.operational.failureHandling"


def of_kind(rows: tuple[Row, ...]) -> list[Any]:
    return [pytest.param(row, id=row.name) for row in rows if row.manifest["kind"] == "VirtualMCPServer"]


@pytest.mark.parametrize("row", of_kind(GOOD))
def test_what_the_api_server_takes_is_valid(row: Row) -> None:
    assert validate(row.manifest["spec"]) == []


@pytest.mark.parametrize("row", of_kind(BAD))
def test_what_the_api_server_refuses_is_found_in_an_object_older_than_the_rule(row: Row) -> None:
    problems = validate(row.manifest.get("spec"))
    assert problems
    assert all(problem.path.startswith("spec") and problem.message for problem in problems)


@pytest.mark.parametrize(
    ("manifest", "path", "message"),
    [
        (
            handling(healthCheckInterval="0s"),
            f"{HANDLING}.healthCheckInterval",
            "'0s'; must be a duration from 1s",
        ),
        (handling(healthCheckInterval="5"), f"{HANDLING}.healthCheckInterval", "such as 30s or 1m30s"),
        (handling(healthCheckInterval="1e9h"), f"{HANDLING}.healthCheckInterval", "to 24h"),
        (
            handling(healthCheckTimeout="40s"),
            f"{HANDLING}.healthCheckTimeout",
            "which is 30s; lower the timeout",
        ),
        (handling(unhealthyThreshold=0), f"{HANDLING}.unhealthyThreshold", "must be at least 1"),
        (handling(unhealthyThreshold="many"), f"{HANDLING}.unhealthyThreshold", "must be a whole number"),
        (handling(partialFailureMode="ignore"), f"{HANDLING}.partialFailureMode", "'fail' or 'best_effort'"),
        (handling(circuitBreaker=3), f"{HANDLING}.circuitBreaker", "must be an object"),
        (
            handling(circuitBreaker={"timeout": "2m", "maxTimeout": "1m"}),
            f"{HANDLING}.circuitBreaker.maxTimeout",
            "raise maxTimeout or lower timeout",
        ),
        (
            handling(healthCheckTimeout="8s", perBackend={"search": {"healthCheckInterval": "5s"}}),
            f"{HANDLING}.perBackend.search.healthCheckTimeout",
            "8s must be shorter than healthCheckInterval, which is 5s",
        ),
        (
            handling(perBackend={"search": {"override": {"mode": "off"}}}),
            f"{HANDLING}.perBackend.search.override.mode",
            "'forcedOpen', 'forcedClosed' or 'disabled'",
        ),
        (
            config(backends=[{"name": "a", "url": "http://h", "transport": "sse"}] * 2),
            "spec.config.backends[1].name",
            "'a' is already the name of spec.config.backends[0]; rename one of them",
        ),
        (
            config(backends=[{"name": " ", "url": "http://h", "transport": "sse"}]),
            "spec.config.backends[0].name",
            "must not be empty",
        ),
        (
            config(backends=[{"name": "a", "url": "h:80", "transport": "sse"}]),
            "spec.config.backends[0].url",
            "must be a URL that starts with http:// or https://",
        ),
        (
            config(backends=[{"name": "a", "url": "http://", "transport": "sse"}]),
            "spec.config.backends[0].url",
            "it has no host",
        ),
        (vmcp(groupRef=None), "spec.groupRef", "is required"),
        (
            vmcp(sessionStorage={"provider": "redis", "address": "redis:" + "6" * 5000}),
            "spec.sessionStorage.address",
            "is no host:port",
        ),
    ],
)
def test_the_field_and_the_fix_are_named(manifest: dict[str, Any], path: str, message: str) -> None:
    (problem,) = validate(manifest["spec"])
    assert problem.path == path
    assert message in problem.message


def test_a_time_that_is_none_in_utc_is_named_in_plain_words() -> None:
    override = {"mode": "disabled", "until": "0001-01-01T00:00:00+10:00"}
    (problem,) = validate(handling(perBackend={"search": {"override": override}})["spec"])
    assert problem.message == "the time lies outside the years 1 to 9999 in UTC"


def test_every_problem_of_a_spec_is_named_at_once() -> None:
    spec = handling(healthCheckInterval="0s", unhealthyThreshold=0, circuitBreaker={"failureThreshold": 0})["spec"]
    assert len(validate(spec)) == 3


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "https://h.ns.svc.cluster.local:8443/mcp?x=1",
        "http://127.0.0.1:1/",
        "http://[::1]:8080/mcp",
    ],
)
def test_a_url_of_a_backend_is_taken(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:80",
        "ftp://h",
        "http://",
        "http:///mcp",
        "http://:80",
        "http://h:0",
        "http://h:99999",
        "http://h:port",
        "http://[::1",
        "http://a b/",
        "http://h/\r\nHost: x",
        "http://hé/",
        "http://user:pass@h/",
        "http://h/#part",
    ],
)
def test_what_is_no_url_of_a_backend_is_refused(url: str) -> None:
    assert url_problem(url)


def test_a_refused_url_does_not_show_its_password() -> None:
    assert "hunter2" not in str(url_problem("http://user:hunter2@h/"))


def test_a_condition_names_the_first_problems_and_counts_the_others() -> None:
    problems = [Problem(f"spec.a[{number}]", "is wrong") for number in range(7)]
    text = summary(problems)
    assert text.startswith("spec.a[0]: is wrong; spec.a[1]")
    assert text.endswith("spec.a[4]: is wrong; and 2 more")


NAMES = st.sampled_from(
    """groupRef name incomingAuth type config backends url transport operational failureHandling
    circuitBreaker healthCheckInterval timeout rateLimiting tools aggregation authzConfig inline policies
    outgoingAuth default sessionStorage optimizer filter""".split()  # noqa: SIM905
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(
    ["anonymous", "oidc", "redis", "sse", "http://h", "30s", "1e9h", "inline", "discovered"]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner),
    max_leaves=30,
)


@given(VALUES)
def test_nothing_that_may_be_stored_raises(spec: Any) -> None:
    validate(spec)
    if isinstance(spec, dict):
        assert fail_closed(spec) or spec["incomingAuth"]["type"] == "anonymous"
        left_out(spec)
        outgoing_auth_problem(spec, "a", "shared")
