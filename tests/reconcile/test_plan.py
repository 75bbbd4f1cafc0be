"""What a stored object asks for: served, blocked, or closed; and never an exception."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api import samples
from tests.reconcile.objects import IMAGE, entry, gate, group, inline, judged, server

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.status import Phase
from vmcp.api.virtualmcpserver import VirtualMCPServerConfig, VirtualMCPServerSpec
from vmcp.kube.client import JsonObject
from vmcp.reconcile.plan import Plan, Surroundings, plan
from vmcp.status.findings import Finding

FORBID: JsonObject = {"type": "inline", "inline": {"policies": ["forbid(principal, action, resource);"]}}
PERMIT: JsonObject = {"type": "inline", "inline": {"policies": ["permit(principal, action, resource);"]}}


def condition(judgement: Plan, wanted: ConditionType) -> Finding | None:
    return next((finding for finding in judgement.conditions if finding.type == wanted), None)


def status_of(judgement: Plan, wanted: ConditionType) -> bool | None:
    found = condition(judgement, wanted)
    return found.status if found else None


def test_a_sound_spec_is_served() -> None:
    judgement = judged()
    assert judgement.blocked is None
    assert judgement.closed == ""
    assert judgement.wanted is not None
    assert judgement.wanted.image == IMAGE
    assert all(finding.status for finding in judgement.conditions)


def test_a_type_of_condition_is_found_at_most_once() -> None:
    for judgement in (judged(), judged(gate(incomingAuth={"type": "oidc"})), judged(entries=(entry(remoteUrl="x"),))):
        types = [finding.type for finding in judgement.conditions]
        assert len(types) == len(set(types))


def test_the_gateway_is_told_its_group_its_settings_and_its_backends() -> None:
    settings = {
        "operational": {"failureHandling": {"unhealthyThreshold": 7}},
        "metadata": {"team": "blue"},
        "aggregation": {"conflictResolutionConfig": {"prefixFormat": "{workload}."}},
        "backends": [inline()],
    }
    wanted = judged(gate(config=settings), servers=(server(),), entries=(entry(),)).wanted
    assert wanted is not None
    config = wanted.config
    assert (config.name, config.group_ref, config.incoming_auth.type) == ("gate", "team", "anonymous")
    assert [backend.name for backend in config.backends] == ["own", "remote", "search"]
    assert config.operational is not None
    assert config.operational.failure_handling is not None
    assert config.operational.failure_handling.unhealthy_threshold == 7
    assert config.metadata == {"team": "blue"}
    assert config.aggregation is not None
    assert config.aggregation.conflict_resolution_config is not None
    assert config.aggregation.conflict_resolution_config.prefix_format == "{workload}."


def test_the_gateway_is_told_which_headers_pass_and_which_hosts_it_has() -> None:
    settings = {"passthroughHeaders": ["X-B", "X-A"], "allowedHosts": ["mcp.example.com"]}
    wanted = judged(gate(passthroughHeaders=["X-A"], config=settings)).wanted
    assert wanted is not None
    assert wanted.config.passthrough_headers == ["X-A", "X-B"]
    assert wanted.config.allowed_hosts == ["mcp.example.com"]


@pytest.mark.parametrize(
    ("aggregation", "reason", "named"),
    [
        ({"tools": [{"workload": "own"}]}, Reason.ALL_NAMES_MATCHED, ""),
        ({"tools": [{"workload": "gone"}]}, Reason.NAMES_WITHOUT_BACKEND, "gone"),
        (
            {"conflictResolution": "priority", "conflictResolutionConfig": {"priorityOrder": ["own", "late"]}},
            Reason.NAMES_WITHOUT_BACKEND,
            "late",
        ),
        (
            {"tools": [{"workload": "own", "filter": ["shown"], "overrides": {"x": {"name": "shown"}}}]},
            Reason.RULES_WITHOUT_EFFECT,
            "spec.config.aggregation.tools[0].filter[0]",
        ),
    ],
)
def test_tool_rules_that_match_nothing_are_named_and_the_gateway_is_served(
    aggregation: dict[str, Any], reason: Reason, named: str
) -> None:
    judgement = judged(gate(config={"backends": [inline()], "aggregation": aggregation}))
    found = condition(judgement, ConditionType.TOOL_RULES_MATCHED)
    assert judgement.wanted is not None
    assert found is not None
    assert (found.status, found.reason) == (reason is Reason.ALL_NAMES_MATCHED, reason)
    assert named in found.message


CLOSED: dict[str, tuple[dict[str, Any], str]] = {
    "oidc": ({"incomingAuth": samples.OIDC}, "spec.incomingAuth.type"),
    "unknown auth": ({"incomingAuth": {"type": "basic"}}, "spec.incomingAuth.type"),
    "no auth": ({"incomingAuth": None}, "spec.incomingAuth.type"),
    "auth of another type": ({"incomingAuth": "anonymous"}, "spec.incomingAuth.type"),
    "authz by reference": (
        {"incomingAuth": {"type": "anonymous", "authzConfigRef": {"name": "z"}}},
        "spec.incomingAuth.authzConfigRef",
    ),
    "authz with policies": (
        {"incomingAuth": {"type": "anonymous", "authzConfig": FORBID}},
        "spec.incomingAuth.authzConfig",
    ),
    "authz with entities too deep to read": (
        {
            "incomingAuth": {
                "type": "anonymous",
                "authzConfig": {"type": "inline", "inline": {**PERMIT["inline"], "entitiesJson": "[" * 100_000}},
            }
        },
        "spec.incomingAuth.authzConfig",
    ),
    "resolved auth": ({"config": {"incomingAuth": {"type": "oidc"}}}, "spec.config.incomingAuth.type"),
    "authorization server": ({"authServerConfig": {"issuer": "https://i"}}, "spec.authServerConfig"),
    "limits": (
        {"config": {"rateLimiting": {"shared": samples.BUCKET}}, "sessionStorage": samples.REDIS},
        "spec.config.rateLimiting",
    ),
    "tools hidden by an object that is not read": (
        {"config": {"aggregation": {"tools": [{"workload": "a", "toolConfigRef": {"name": "t"}}]}}},
        "spec.config.aggregation.tools[0].toolConfigRef",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_what_protects_something_and_is_not_built_closes_the_gateway(name: str) -> None:
    spec, path = CLOSED[name]
    judgement = judged(gate(**spec))
    assert judgement.wanted is None
    assert path in judgement.closed
    assert judgement.blocked is not None
    assert (judgement.blocked.phase, judgement.blocked.reason) == (Phase.FAILED, Reason.VALIDATION_FAILED)
    valid = condition(judgement, ConditionType.VALID)
    assert valid is not None
    assert not valid.status
    assert path in valid.message


def test_a_missing_spec_closes_the_gateway() -> None:
    owner = gate()
    del owner["spec"]
    assert judged(owner).closed


def test_auth_that_is_not_built_is_said_of_auth_as_well() -> None:
    found = condition(judged(gate(incomingAuth=samples.OIDC)), ConditionType.AUTH_CONFIGURED)
    assert found is not None
    assert (found.status, found.reason) == (False, Reason.INCOMING_AUTH_INVALID)
    assert "'oidc'" in found.message


def test_authz_that_permits_everything_is_served() -> None:
    judgement = judged(gate(incomingAuth={"type": "anonymous", "authzConfig": PERMIT}))
    assert judgement.wanted is not None


def test_a_broken_spec_blocks_but_leaves_what_runs() -> None:
    judgement = judged(gate(config={"operational": {"failureHandling": {"healthCheckInterval": "0s"}}}))
    assert judgement.wanted is None
    assert judgement.closed == ""
    assert judgement.blocked is not None
    assert "spec.config.operational.failureHandling.healthCheckInterval" in judgement.blocked.message


def test_a_broken_spec_that_also_asks_for_protection_closes() -> None:
    judgement = judged(gate(incomingAuth=samples.OIDC, replicas="three"))
    assert judgement.closed
    assert "spec.replicas" in judgement.conditions[0].message


def test_many_problems_are_told_in_a_message_of_bearable_length() -> None:
    judgement = judged(gate(config={"backends": [inline(f"b{n}", url="nowhere") for n in range(100)]}))
    assert judgement.blocked is not None
    assert judgement.blocked.message.endswith("and 95 more")


LEFT_OUT: dict[str, tuple[dict[str, Any], str]] = {
    "telemetry": ({"telemetryConfigRef": {"name": "t"}}, "spec.telemetryConfigRef"),
    "optimizer": ({"config": {"optimizer": {}}}, "spec.config.optimizer"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_merely_adds_something_and_is_not_built_is_left_out_and_named(name: str) -> None:
    spec, path = LEFT_OUT[name]
    judgement = judged(gate(**spec))
    found = condition(judgement, ConditionType.FEATURES_SUPPORTED)
    assert judgement.wanted is not None
    assert found is not None
    assert not found.status
    assert path in found.message


def test_a_pod_template_that_can_be_merged_is_valid_and_no_longer_left_out() -> None:
    judgement = judged(gate(podTemplateSpec={"spec": {"nodeSelector": {"a": "b"}}}))
    assert judgement.wanted is not None
    assert status_of(judgement, ConditionType.POD_TEMPLATE_SPEC_VALID) is True
    assert status_of(judgement, ConditionType.FEATURES_SUPPORTED) is True


def test_without_a_pod_template_nothing_is_said_of_it() -> None:
    assert condition(judged(), ConditionType.POD_TEMPLATE_SPEC_VALID) is None


def test_a_pod_template_that_cannot_be_merged_fails_with_its_place_and_nothing_is_applied() -> None:
    judgement = judged(gate(podTemplateSpec={"spec": {"containers": [{"image": "x"}]}}))
    assert judgement.wanted is None
    assert judgement.closed == ""
    assert judgement.blocked is not None
    assert judgement.blocked.phase is Phase.FAILED
    assert judgement.blocked.message == "spec.podTemplateSpec.spec.containers[0].name: is required; set it"
    found = condition(judgement, ConditionType.POD_TEMPLATE_SPEC_VALID)
    assert found is not None
    assert (found.status, found.reason) == (False, Reason.INVALID_POD_TEMPLATE_SPEC)
    assert status_of(judgement, ConditionType.VALID) is False


@given(st.deferred(lambda: JSON))
def test_garbage_for_a_pod_template_is_judged(value: Any) -> None:
    checked(judged(gate(podTemplateSpec={"spec": value})))


def test_a_member_that_is_left_out_is_named_in_a_condition() -> None:
    judgement = judged(entries=(entry("sound"), entry("broken", remoteUrl="ftp://x")))
    found = condition(judgement, ConditionType.BACKENDS_DISCOVERED)
    assert found is not None
    assert (found.status, found.reason) == (False, Reason.BACKENDS_LEFT_OUT)
    assert "MCPServerEntry broken" in found.message
    assert [backend.name for backend in judgement.discovery.backends] == ["sound"]


def test_a_group_that_does_not_exist_fails_with_what_to_do() -> None:
    judgement = plan(gate(), Surroundings(None), image=IMAGE)
    assert judgement.wanted is None
    assert judgement.closed == ""
    assert judgement.blocked is not None
    assert (judgement.blocked.phase, judgement.blocked.reason) == (Phase.FAILED, Reason.GROUP_REF_NOT_FOUND)
    assert "MCPGroup team does not exist in this namespace; create it" in judgement.blocked.message
    assert status_of(judgement, ConditionType.GROUP_REF_VALIDATED) is False
    assert status_of(judgement, ConditionType.VALID) is True


def test_a_group_that_is_being_deleted_is_waited_for() -> None:
    leaving = group(deletionTimestamp="2026-01-01T00:00:00Z")
    judgement = plan(gate(), Surroundings(leaving), image=IMAGE)
    assert judgement.blocked is not None
    assert (judgement.blocked.phase, judgement.blocked.reason) == (Phase.PENDING, Reason.GROUP_REF_NOT_READY)


@pytest.mark.parametrize(("name", "served"), [("g" * 58, True), ("g" * 59, False), ("a.b", False)])
def test_a_name_must_leave_room_for_a_service(name: str, served: bool) -> None:
    judgement = judged(gate(name))
    assert (judgement.wanted is not None) is served
    if judgement.blocked:
        assert judgement.blocked.message.startswith("metadata.name: ")
        assert judgement.closed == ""


@pytest.mark.parametrize(("written", "seconds"), [(None, 300.0), ("30s", 300.0), ("1m30s", 90.0)])
def test_the_heartbeat_is_what_the_spec_says(written: str | None, seconds: float) -> None:
    handling = {"statusReportingInterval": written} if written else {}
    assert judged(gate(config={"operational": {"failureHandling": handling}})).heartbeat_s == seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from(sorted(VirtualMCPServerSpec.model_json_schema()["properties"]))
CONFIG_FIELDS = st.sampled_from(sorted(VirtualMCPServerConfig.model_json_schema()["properties"]))


def checked(judgement: Plan) -> None:
    assert (judgement.wanted is None) == (judgement.blocked is not None)
    assert status_of(judgement, ConditionType.VALID) is not None


@given(JSON)
def test_garbage_for_a_spec_is_judged(spec: Any) -> None:
    judgement = judged(gate() | {"spec": spec})
    checked(judgement)
    assert judgement.closed


@given(FIELDS, JSON)
def test_garbage_in_a_field_is_judged(name: str, value: Any) -> None:
    owner = gate()
    owner["spec"][name] = value
    checked(judged(owner))


@given(CONFIG_FIELDS, JSON)
def test_garbage_in_the_config_is_judged(name: str, value: Any) -> None:
    checked(judged(gate(config={name: value})))


@given(JSON, JSON)
def test_garbage_for_a_member_disturbs_nobody(spec: Any, status: Any) -> None:
    servers: tuple[JsonObject, ...] = (server("broken-server") | {"spec": spec, "status": status}, server("sound"))
    entries: tuple[JsonObject, ...] = (entry("broken-entry") | {"spec": spec},)
    judgement = judged(servers=servers, entries=entries)
    assert "sound" in [backend.name for backend in judgement.discovery.backends]


@given(st.text())
def test_any_url_of_a_member_is_judged(url: str) -> None:
    judgement = judged(servers=(server(url=url),), entries=(entry(remoteUrl=url),))
    assert judgement.wanted is not None


def test_a_name_in_per_backend_that_no_backend_has_is_named_and_stops_nothing() -> None:
    def overriding(*names: str) -> JsonObject:
        per_backend = {name: {"override": {"mode": "forcedOpen"}} for name in names}
        return gate(config={"operational": {"failureHandling": {"perBackend": per_backend}}})

    judgement = judged(overriding("search", "serach"), servers=(server(),))
    assert judgement.wanted is not None
    told = condition(judgement, ConditionType.BACKEND_OVERRIDES_MATCHED)
    assert told is not None
    assert (told.status, told.reason) == (False, Reason.NAMES_WITHOUT_BACKEND)
    assert "serach" in told.message
    assert "search" not in told.message
    assert status_of(judged(overriding("search"), servers=(server(),)), ConditionType.BACKEND_OVERRIDES_MATCHED)
    assert condition(judged(), ConditionType.BACKEND_OVERRIDES_MATCHED) is None


@pytest.mark.parametrize(("replicas", "warned"), [(None, False), (0, False), (1, False), (2, True)])
def test_several_replicas_without_shared_sessions_are_warned_of_and_served(replicas: int | None, warned: bool) -> None:
    judgement = judged(gate(**({} if replicas is None else {"replicas": replicas})))
    found = condition(judgement, ConditionType.SESSION_STORAGE_WARNING)
    assert (found is not None) == warned
    assert judgement.wanted is not None
    if found is not None:
        assert found.status
        assert found.reason == Reason.SESSION_STORAGE_MISSING


def test_replicas_that_share_sessions_are_not_warned_of_and_told_where_they_do() -> None:
    storage = {**samples.REDIS, "db": 2, "keyPrefix": "v:", "passwordRef": samples.SECRET}
    judgement = judged(gate(replicas=2, sessionStorage=storage))
    found = condition(judgement, ConditionType.SESSION_STORAGE_WARNING)
    assert found is not None
    assert (found.status, found.reason) == (False, Reason.SESSION_STORAGE_CONFIGURED)
    assert judgement.wanted is not None
    told = judgement.wanted.config.session_storage
    assert told is not None
    # The password is the gateway's to read, by reference.
    assert told.model_dump(mode="json", by_alias=True) == {**samples.REDIS, "db": 2, "keyPrefix": "v:"}
    features = condition(judgement, ConditionType.FEATURES_SUPPORTED)
    assert features is None or features.status


def test_an_address_of_redis_that_is_none_is_named() -> None:
    judgement = judged(gate(sessionStorage={**samples.REDIS, "address": "redis"}))
    assert judgement.blocked is not None
    assert "spec.sessionStorage.address" in judgement.blocked.message
