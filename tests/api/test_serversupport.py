"""What an MCPServer may ask for and is not built: what protects fails closed, what adds is named."""

import pytest
from tests.api import samples

from vmcp.api.mcpserver import MCPServerSpec
from vmcp.api.serversupport import fail_closed, left_out

PROTECTS = {
    "authServerRef": {"kind": "MCPExternalAuthConfig", "name": "corp"},
    "authzConfig": {"type": "inline", "inline": {"policies": ["forbid(principal, action, resource);"]}},
    "authzConfigRef": {"name": "corp"},
    "externalAuthConfigRef": {"name": "corp"},
    "oidcConfigRef": {"name": "corp", "audience": "search"},
    "permissionProfile": {"type": "builtin", "name": "none"},
    "rateLimiting": {"shared": samples.BUCKET},
    "toolConfigRef": {"name": "few"},
    "webhookConfigRef": {"name": "judge"},
}
STDIO = {"transport": "stdio"}
HTTP = {"transport": "streamable-http"}
ADDS = [
    ({"audit": {"enabled": True}}, "spec.audit"),
    ({"endpointPrefix": "/search"}, "spec.endpointPrefix"),
    ({"sessionStorage": samples.REDIS}, "spec.sessionStorage"),
    ({"telemetryConfigRef": {"name": "traces"}}, "spec.telemetryConfigRef"),
    ({"trustProxyHeaders": True}, "spec.trustProxyHeaders"),
    ({"proxyMode": "sse", **STDIO}, "spec.proxyMode"),
    ({"replicas": 2, **STDIO}, "spec.replicas"),
    ({"backendReplicas": 2, **STDIO}, "spec.backendReplicas"),
    ({"resourceOverrides": {"proxyDeployment": {"labels": {"a": "b"}}}, **HTTP}, "spec.resourceOverrides"),
]
NOTHING_LEFT_OUT = [
    {"audit": {"enabled": False}},
    {"permissionProfile": {"type": "builtin", "name": "network"}},
    {"sessionStorage": {"provider": "memory"}},
    {"proxyMode": "sse", "replicas": 2, "backendReplicas": 2, **HTTP},
    {"resourceOverrides": {"proxyDeployment": {"labels": {"a": "b"}}}, **STDIO},
    {"resourceOverrides": {"proxyDeployment": {"imagePullSecrets": [{"name": "pull"}]}}, **HTTP},
]


@pytest.mark.parametrize("field", PROTECTS)
def test_what_protects_fails_closed_with_its_path_and_what_to_do(field: str) -> None:
    problems = fail_closed({"image": "x", field: PROTECTS[field]})
    assert [problem.path for problem in problems] == [f"spec.{field}"]
    assert "remove it" in problems[0].message


def test_what_protects_fails_closed_also_where_it_is_malformed() -> None:
    assert fail_closed({"oidcConfigRef": "corp", "permissionProfile": 1})


@pytest.mark.parametrize(("spec", "path"), ADDS)
def test_what_merely_adds_is_named(spec: dict[str, object], path: str) -> None:
    found = left_out(MCPServerSpec.model_validate(samples.server(**spec)["spec"]))
    assert [text.split(" ")[0].startswith(path) for text in found] == [True]
    assert fail_closed(spec) == []


@pytest.mark.parametrize("spec", NOTHING_LEFT_OUT)
def test_what_is_done_is_not_named(spec: dict[str, object]) -> None:
    assert left_out(MCPServerSpec.model_validate(samples.server(**spec)["spec"])) == []
    assert fail_closed(spec) == []


def test_every_field_of_the_spec_is_done_named_or_fails_closed() -> None:
    """A field that is added must be decided upon."""
    done = {
        "args", "backendReplicas", "env", "groupRef", "image", "mcpPort", "podTemplateSpec", "proxyMode", "proxyPort",
        "replicas", "resourceOverrides", "resources", "secrets", "serviceAccount", "sessionAffinity", "transport",
        "volumes",
    }  # fmt: skip
    named = {path.removeprefix("spec.") for _, path in ADDS}
    fields = {str(field.alias) for field in MCPServerSpec.model_fields.values()}
    assert fields == done | named | set(PROTECTS)
