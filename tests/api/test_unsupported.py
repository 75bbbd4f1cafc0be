"""What is asked for and not built: protection fails closed, additions are named, auth is never left off."""

from typing import Any

import pytest
from tests.api.samples import vmcp

from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.api.unsupported import fail_closed, left_out, outgoing_auth_problem
from vmcp.api.virtualmcpserver import VirtualMCPServerSpec

PERMIT_ALL = "permit(principal, action, resource);"
BUCKET = {"maxTokens": 1, "refillPeriod": "1m"}


def spec(**fields: Any) -> dict[str, Any]:
    found = vmcp(**fields)["spec"]
    assert isinstance(found, dict)
    return found


def inline(*policies: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "anonymous",
        "authzConfig": {"type": "inline", "inline": {"policies": [*policies], **more}},
    }


def gateway(**fields: Any) -> GatewayConfig:
    return GatewayConfig.model_validate({"incomingAuth": {"type": "anonymous"}, **fields})


def aggregation(**fields: Any) -> dict[str, Any]:
    return spec(config={"aggregation": fields})


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (spec(incomingAuth={"type": "oidc", "oidcConfigRef": {}}), "spec.incomingAuth.type"),
        (spec(incomingAuth=None), "spec.incomingAuth.type"),
        (spec(incomingAuth="anonymous"), "spec.incomingAuth.type"),
        (
            spec(incomingAuth={"type": "anonymous", "authzConfigRef": {"name": "a"}}),
            "spec.incomingAuth.authzConfigRef",
        ),
        (
            spec(incomingAuth={"type": "anonymous", "authzConfig": {"configMap": {"name": "a"}}}),
            "spec.incomingAuth.authzConfig",
        ),
        (spec(incomingAuth={"type": "anonymous", "authzConfig": {}}), "spec.incomingAuth.authzConfig"),
        (spec(incomingAuth=inline()), "spec.incomingAuth.authzConfig"),
        (spec(incomingAuth=inline(PERMIT_ALL, PERMIT_ALL)), "spec.incomingAuth.authzConfig"),
        (spec(incomingAuth=inline("forbid(principal, action, resource);")), "spec.incomingAuth.authzConfig"),
        (
            spec(incomingAuth=inline(PERMIT_ALL, entitiesJson='[{"uid": "User::1"}]')),
            "spec.incomingAuth.authzConfig",
        ),
        (spec(incomingAuth=inline(PERMIT_ALL, entitiesJson="not json")), "spec.incomingAuth.authzConfig"),
        (spec(authServerConfig={}), "spec.authServerConfig"),
        (spec(config={"rateLimiting": {"shared": BUCKET}}), "spec.config.rateLimiting"),
        (spec(config={"incomingAuth": {"type": "oidc"}}), "spec.config.incomingAuth.type"),
        (
            spec(config={"incomingAuth": {"type": "anonymous", "authz": {"type": "cedar"}}}),
            "spec.config.incomingAuth.authz",
        ),
        (
            aggregation(tools=[{"workload": "a", "toolConfigRef": {"name": "t"}}]),
            "spec.config.aggregation.tools[0].toolConfigRef",
        ),
    ],
)
def test_what_protects_something_fails_closed(asked: dict[str, Any], path: str) -> None:
    (problem,) = fail_closed(asked)
    assert problem.path == path
    assert "not supported yet" in problem.message


@pytest.mark.parametrize(
    "asked",
    [
        spec(),
        spec(incomingAuth=inline(PERMIT_ALL)),
        spec(incomingAuth=inline(PERMIT_ALL, entitiesJson="[]")),
        spec(incomingAuth=inline("permit (\n  principal,\n  action,\n  resource\n);\n", entitiesJson="")),
        spec(config={"incomingAuth": {"type": "anonymous", "authz": {"type": "none"}}}),
        aggregation(defaultToolVisibility="deny", excludeAllTools=True, tools=[{"workload": "a", "filter": ["x"]}]),
        spec(config={"compositeTools": [{"name": "x", "steps": []}], "audit": {"enabled": True}}),
    ],
)
def test_what_protects_nothing_is_served(asked: dict[str, Any]) -> None:
    assert fail_closed(asked) == []


def test_a_spec_that_is_also_invalid_elsewhere_still_fails_closed() -> None:
    asked = spec(incomingAuth={"type": "oidc"}, config={"operational": 5}, replicas="many")
    assert [problem.path for problem in fail_closed(asked)] == ["spec.incomingAuth.type"]


def test_models_and_stored_values_are_judged_alike() -> None:
    asked = spec(
        incomingAuth={"type": "oidc", "oidcConfigRef": {"name": "c", "audience": "a"}},
        config={"rateLimiting": {"shared": BUCKET}, "telemetry": {}},
    )
    model = VirtualMCPServerSpec.model_validate(asked)
    assert fail_closed(model) == fail_closed(asked)
    assert left_out(model) == left_out(asked)


def test_a_gateway_refuses_the_same_fields_in_its_own_configuration() -> None:
    config = gateway(
        incomingAuth={"type": "oidc"},
        rateLimiting={"shared": BUCKET},
        aggregation={"tools": [{"workload": "a", "toolConfigRef": {"name": "t"}}]},
    )
    assert [problem.path for problem in fail_closed(config)] == [
        "incomingAuth.type",
        "rateLimiting",
        "aggregation.tools[0].toolConfigRef",
    ]
    assert fail_closed(gateway()) == []


@pytest.mark.parametrize(
    ("asked", "paths"),
    [
        (spec(), []),
        (spec(config={"audit": {"enabled": False}, "codeMode": {}}), []),
        (spec(config={"audit": {"enabled": True}}), ["spec.config.audit"]),
        (spec(config={"codeMode": {"enabled": True}}), ["spec.config.codeMode"]),
        (spec(config={"optimizer": {}}), ["spec.config.optimizer"]),
        (spec(config={"telemetry": {}}), ["spec.config.telemetry"]),
        (spec(config={"compositeTools": [{"name": "x", "steps": []}]}), ["spec.config.compositeTools"]),
        (spec(config={"compositeToolRefs": [{"name": "x"}]}), ["spec.config.compositeToolRefs"]),
        (spec(passthroughHeaders=["x"], config={"passthroughHeaders": ["x"], "allowedHosts": ["x"]}), []),
        (spec(embeddingServerRef={"name": "e"}), ["spec.embeddingServerRef"]),
        (spec(telemetryConfigRef={"name": "t"}), ["spec.telemetryConfigRef"]),
        (spec(sessionStorage={"provider": "memory"}), []),
        (spec(sessionStorage={"provider": "redis", "address": "r:1"}), []),
        (aggregation(conflictResolution="manual", tools=[{"workload": "a", "overrides": {"x": {"name": "y"}}}]), []),
    ],
)
def test_what_merely_adds_something_is_named(asked: dict[str, Any], paths: list[str]) -> None:
    assert left_out(asked) == paths


def test_a_gateway_names_what_it_leaves_out() -> None:
    config = gateway(optimizer={}, sessionStorage={"provider": "redis", "address": "r:1"})
    assert left_out(config) == ["optimizer"]


BY_REFERENCE = {"type": "externalAuthConfigRef", "externalAuthConfigRef": {"name": "shared"}}


@pytest.mark.parametrize(
    ("outgoing", "discovered", "callable_"),
    [
        (None, None, True),
        (None, "own", False),
        ({"source": "discovered"}, None, True),
        ({"source": "discovered"}, "own", False),
        ({"source": "inline"}, "own", True),
        ({"backends": {"a": BY_REFERENCE}}, None, False),
        ({"backends": {"b": BY_REFERENCE}}, None, True),
        ({"default": BY_REFERENCE}, None, False),
        ({"default": BY_REFERENCE, "backends": {"a": {"type": "discovered"}}}, None, True),
        ({"default": BY_REFERENCE, "backends": {"a": {"type": "discovered"}}}, "own", False),
    ],
)
def test_a_backend_is_never_called_without_the_auth_it_should_have(
    outgoing: dict[str, Any] | None, discovered: str | None, callable_: bool
) -> None:
    problem = outgoing_auth_problem(spec(outgoingAuth=outgoing), "a", discovered)
    assert (problem is None) is callable_
    assert callable_ or "not supported yet" in str(problem)


def test_resolved_outgoing_auth_counts_as_well() -> None:
    auth = {
        "source": "inline",
        "default": {"type": "unauthenticated"},
        "backends": {
            "a": {"type": "headerInjection", "headerInjection": {"headerName": "X", "headerValue": "hunter2"}}
        },
    }
    for asked in (spec(config={"outgoingAuth": auth}), gateway(outgoingAuth=auth)):
        assert outgoing_auth_problem(asked, "b") is None
        problem = outgoing_auth_problem(asked, "a")
        assert problem is not None
        assert "headerInjection" in problem
        assert "hunter2" not in problem


def test_an_open_default_does_not_hide_resolved_auth() -> None:
    asked = spec(
        outgoingAuth={"default": {"type": "discovered"}},
        config={"outgoingAuth": {"source": "inline", "backends": {"a": {"type": "tokenExchange"}}}},
    )
    assert outgoing_auth_problem(asked, "a")
    assert outgoing_auth_problem(asked, "b") is None
