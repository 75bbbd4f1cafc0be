"""What a VirtualMCPServer asks for, judged as a whole: its conditions, what blocks it, and what to apply. Pure."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from vmcp.api.aggregation import Aggregation
from vmcp.api.auth import IncomingAuthType
from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.api.problem import Problem
from vmcp.api.session import ConfigSessionStorage, SessionProvider, host_and_port
from vmcp.api.status import Phase
from vmcp.api.toolrules import rules_without_effect, unmatched_workloads
from vmcp.api.unsupported import fail_closed, left_out
from vmcp.api.validation import validate
from vmcp.api.virtualmcpserver import VirtualMCPServerSpec
from vmcp.kube.client import JsonObject
from vmcp.reconcile.desired import Wanted, pod_template
from vmcp.reconcile.members import Discovery, discover
from vmcp.reconcile.names import LONGEST_NAME
from vmcp.reconcile.podtemplate import InvalidPodTemplate
from vmcp.status.findings import Blocked, Finding
from vmcp.status.news import HEARTBEAT_S, heartbeat_of

PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else decides: the group and its members as last seen."""

    group: JsonObject | None
    servers: Sequence[JsonObject] = ()
    entries: Sequence[JsonObject] = ()
    authorities: Mapping[tuple[str, str], str] = field(default_factory=dict)
    proxies: Sequence[JsonObject] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The judgement.

    Attributes:
        blocked: why nothing is applied; what runs is left as it is, unless `closed`.
        closed: why nothing may be served: a gateway that runs is stopped. Empty otherwise.
        wanted: what to apply; None while blocked.
    """

    conditions: tuple[Finding, ...]
    blocked: Blocked | None = None
    closed: str = ""
    wanted: Wanted | None = None
    discovery: Discovery = field(default_factory=Discovery)
    heartbeat_s: float = HEARTBEAT_S


def plan(owner: JsonObject, around: Surroundings, *, image: str) -> Plan:
    """Judge the object as stored. Never raises, whatever its spec holds."""
    stored = owner.get("spec")
    problems = _name_problems(owner) + validate(stored)
    closing = fail_closed(stored if isinstance(stored, dict) else {})
    if problems or closing:
        return _invalid(problems, closing)
    spec = VirtualMCPServerSpec.model_validate(stored)
    handling = spec.config.operational.failure_handling if spec.config and spec.config.operational else None
    heartbeat_s = heartbeat_of(handling.status_reporting_interval if handling else None)
    conditions = [
        Finding(ConditionType.VALID, True, Reason.VALIDATION_SUCCEEDED, "the spec is valid"),
        Finding(
            ConditionType.AUTH_CONFIGURED,
            True,
            Reason.INCOMING_AUTH_VALID,
            "anyone who reaches it may call it",
        ),
        _features(left_out(spec)),
        *_sessions_of_replicas(spec),
    ]
    blocked = _group_blocks(spec.group_ref.name, around.group)
    if blocked:
        conditions.append(Finding(ConditionType.GROUP_REF_VALIDATED, False, blocked.reason, blocked.message))
        return Plan(tuple(conditions), blocked, heartbeat_s=heartbeat_s)
    group = Finding(
        ConditionType.GROUP_REF_VALIDATED,
        True,
        Reason.GROUP_REF_VALID,
        f"MCPGroup {spec.group_ref.name} exists",
    )
    discovery = discover(spec, around.servers, around.entries, around.authorities, around.proxies)
    if discovery.left_out:
        conditions.append(
            Finding(ConditionType.BACKENDS_DISCOVERED, False, Reason.BACKENDS_LEFT_OUT, shown(discovery.left_out))
        )
    if handling and handling.per_backend:
        conditions.append(_overrides(handling.per_backend, {member.name for member in discovery.members}))
    if spec.config and spec.config.aggregation:
        conditions.append(_tool_rules(spec.config.aggregation, {member.name for member in discovery.members}))
    config = gateway_config(owner["metadata"]["name"], spec, discovery)
    wanted = Wanted(owner, spec, config, discovery.ca_bundles, image, discovery.secret_headers)
    judged = Plan((*conditions, group), wanted=wanted, discovery=discovery, heartbeat_s=heartbeat_s)
    try:
        pod_template(wanted)
    except InvalidPodTemplate as error:
        return without_pod_template(judged, str(error))
    if spec.pod_template_spec:
        valid = Finding(
            ConditionType.POD_TEMPLATE_SPEC_VALID,
            True,
            Reason.POD_TEMPLATE_SPEC_VALID,
            "spec.podTemplateSpec is merged into the gateway's pod",
        )
        return replace(judged, conditions=(*judged.conditions, valid))
    return judged


def without_pod_template(judged: Plan, message: str) -> Plan:
    """The judgement when the podTemplateSpec cannot be merged, or the API server refuses what comes of it."""
    found = (
        Finding(ConditionType.VALID, False, Reason.VALIDATION_FAILED, message),
        Finding(ConditionType.POD_TEMPLATE_SPEC_VALID, False, Reason.INVALID_POD_TEMPLATE_SPEC, message),
    )
    others = [finding for finding in judged.conditions if finding.type not in {new.type for new in found}]
    blocked = Blocked(Phase.FAILED, Reason.VALIDATION_FAILED, message)
    return replace(judged, conditions=(*found, *others), blocked=blocked, wanted=None)


def gateway_config(name: str, spec: VirtualMCPServerSpec, discovery: Discovery) -> GatewayConfig:
    """The gateway's configuration: what the spec says of it that is built, and the backends."""
    settings = spec.config
    return GatewayConfig.model_validate(
        {
            "name": name,
            "group_ref": spec.group_ref.name,
            "incoming_auth": {"type": str(IncomingAuthType.ANONYMOUS)},
            "aggregation": settings.aggregation if settings else None,
            "allowed_hosts": settings.allowed_hosts if settings else None,
            "operational": settings.operational if settings else None,
            "session_storage": _session_storage(spec),
            "metadata": settings.metadata if settings else None,
            "passthrough_headers": _passthrough(spec) or None,
            "backends": discovery.backends,
        }
    )


def _passthrough(spec: VirtualMCPServerSpec) -> list[str]:
    further = (spec.config.passthrough_headers if spec.config else None) or []
    return list(dict.fromkeys([*(spec.passthrough_headers or []), *further]))


def _invalid(problems: Sequence[Problem], closing: Sequence[Problem]) -> Plan:
    message = shown([str(problem) for problem in (*closing, *problems)])
    valid = Finding(ConditionType.VALID, False, Reason.VALIDATION_FAILED, message)
    blocked = Blocked(Phase.FAILED, Reason.VALIDATION_FAILED, message)
    auth = [problem for problem in closing if "ncomingAuth" in problem.path]
    findings = [valid]
    if auth:
        said = shown([str(problem) for problem in auth])
        findings.append(Finding(ConditionType.AUTH_CONFIGURED, False, Reason.INCOMING_AUTH_INVALID, said))
    return Plan(tuple(findings), blocked, closed=shown([str(problem) for problem in closing]))


def _name_problems(owner: JsonObject) -> list[Problem]:
    name = owner["metadata"]["name"]
    if len(name) > LONGEST_NAME:
        return [
            Problem(
                "metadata.name",
                f"has {len(name)} characters; at most {LONGEST_NAME} leave room for its Service",
            )
        ]
    if "." in name:
        return [Problem("metadata.name", "must not contain a dot, since its Service cannot; use a dash")]
    return []


def _group_blocks(name: str, group: JsonObject | None) -> Blocked | None:
    if group is None:
        message = f"spec.groupRef.name: MCPGroup {name} does not exist in this namespace; create it or name another"
        return Blocked(Phase.FAILED, Reason.GROUP_REF_NOT_FOUND, message)
    if group["metadata"].get("deletionTimestamp"):
        message = f"spec.groupRef.name: MCPGroup {name} is being deleted"
        return Blocked(Phase.PENDING, Reason.GROUP_REF_NOT_READY, message)
    return None


def _features(paths: Sequence[str]) -> Finding:
    if paths:
        message = f"served without what is not built yet: {shown(paths, ', ')}"
        return Finding(ConditionType.FEATURES_SUPPORTED, False, Reason.LEFT_OUT, message)
    return Finding(ConditionType.FEATURES_SUPPORTED, True, Reason.ALL_SUPPORTED, "all that the spec asks for is served")


def _overrides(names: Iterable[str], backends: Set[str]) -> Finding:
    unmatched = sorted(set(names) - backends)
    if unmatched:
        message = f"failureHandling.perBackend names no backend with {shown(unmatched, ', ')}"
        return Finding(ConditionType.BACKEND_OVERRIDES_MATCHED, False, Reason.NAMES_WITHOUT_BACKEND, message)
    message = "every name in failureHandling.perBackend is a backend's"
    return Finding(ConditionType.BACKEND_OVERRIDES_MATCHED, True, Reason.ALL_NAMES_MATCHED, message)


def _tool_rules(aggregation: Aggregation, backends: Set[str]) -> Finding:
    unmatched = unmatched_workloads(aggregation, backends)
    if unmatched:
        message = f"spec.config.aggregation names no backend with {shown(unmatched, ', ')}"
        return Finding(ConditionType.TOOL_RULES_MATCHED, False, Reason.NAMES_WITHOUT_BACKEND, message)
    without_effect = rules_without_effect(aggregation, "spec", "config", "aggregation")
    if without_effect:
        return Finding(ConditionType.TOOL_RULES_MATCHED, False, Reason.RULES_WITHOUT_EFFECT, shown(without_effect))
    message = "every name in spec.config.aggregation is a backend's"
    return Finding(ConditionType.TOOL_RULES_MATCHED, True, Reason.ALL_NAMES_MATCHED, message)


def shown(sentences: Iterable[str], separator: str = "; ") -> str:
    """The first few sentences, and the number of the others."""
    sentences = list(dict.fromkeys(sentences))
    rest = len(sentences) - PROBLEMS_SHOWN
    return separator.join(sentences[:PROBLEMS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _session_storage(spec: VirtualMCPServerSpec) -> ConfigSessionStorage | None:
    """Where replicas share sessions; None = nowhere."""
    found = spec.session_storage or (spec.config and spec.config.session_storage)
    if not found or found.provider is not SessionProvider.REDIS or host_and_port(found.address) is None:
        return None
    return ConfigSessionStorage(
        provider=found.provider, address=found.address, db=found.db, key_prefix=found.key_prefix
    )


def _sessions_of_replicas(spec: VirtualMCPServerSpec) -> list[Finding]:
    """Without a storage, what a session holds beyond its id stays with the replica that it began at."""
    if (spec.replicas or 0) < 2:
        return []
    storage = _session_storage(spec)
    if storage is not None:
        message = f"replicas share sessions in Redis at {storage.address}"
        return [Finding(ConditionType.SESSION_STORAGE_WARNING, False, Reason.SESSION_STORAGE_CONFIGURED, message)]
    message = (
        "several replicas and no shared session storage: a session goes on at any replica, but its subscriptions, "
        "log level and own backend sessions stay with one; set sessionStorage, or keep sessionAffinity at ClientIP"
    )
    return [Finding(ConditionType.SESSION_STORAGE_WARNING, True, Reason.SESSION_STORAGE_MISSING, message)]
