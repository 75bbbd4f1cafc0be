"""What may pass through the edge is listed by name, and nothing that speaks for HTTP, MCP or the caller's login."""

import pytest
from tests.api.samples import vmcp

from vmcp.api.validation import validate


@pytest.mark.parametrize("header", ["X-Request-Id", "x-api-key", "X-Tenant", "Baggage", "User-Agent"])
def test_a_header_of_ones_own_may_pass(header: str) -> None:
    assert validate(vmcp(passthroughHeaders=[header])["spec"]) == []


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Authorization", "cannot be passed on"),
        ("cookie", "cannot be passed on"),
        ("Host", "cannot be passed on"),
        ("Content-Length", "cannot be passed on"),
        ("Transfer-Encoding", "cannot be passed on"),
        ("Connection", "cannot be passed on"),
        ("Mcp-Session-Id", "cannot be passed on"),
        ("mcp-param-region", "cannot be passed on"),
        ("X-Forwarded-For", "cannot be passed on"),
        ("Proxy-Authorization", "cannot be passed on"),
        ("traceparent", "is passed on as it is"),
        ("X Y", "is not a header name"),
        ("X-A: b\r\nEvil", "is not a header name"),
        ("", "is not a header name"),
    ],
)
def test_a_header_that_must_not_pass_is_named(header: str, message: str) -> None:
    for field in ({"passthroughHeaders": [header]}, {"config": {"passthroughHeaders": [header]}}):
        (problem,) = validate(vmcp(**field)["spec"])
        assert problem.path.endswith("passthroughHeaders[0]")
        assert message in problem.message


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("mcp.example.com", True),
        ("gateway", True),
        ("10.0.0.1", True),
        ("mcp.example.com:443", False),
        ("https://mcp.example.com", False),
        ("*.example.com", False),
        ("", False),
        ("a" * 254, False),
    ],
)
def test_hosts_are_names_without_a_port(host: str, taken: bool) -> None:
    found = [problem.path for problem in validate(vmcp(config={"allowedHosts": [host]})["spec"])]
    assert found == ([] if taken else ["spec.config.allowedHosts[0]"])
