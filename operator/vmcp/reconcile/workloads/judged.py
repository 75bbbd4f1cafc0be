"""What an MCPServer asks for, judged as a whole: its conditions, what blocks it, and what to apply. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.mcpserver import MCPServerSpec
from vmcp.api.problem import Problem, field_path, problems_of
from vmcp.api.serversupport import fail_closed, left_out
from vmcp.kube.client import JsonObject
from vmcp.reconcile.desired import Owned
from vmcp.reconcile.plan import shown
from vmcp.reconcile.podtemplate import InvalidPodTemplate
from vmcp.reconcile.workloads.desired import ServerWanted, desired
from vmcp.reconcile.workloads.names import LONGEST_NAME
from vmcp.status.findings import Finding

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Judged:
    """The judgement.

    Attributes:
        blocked: why nothing is applied; what runs is left as it is, unless `closed`. Empty otherwise.
        closed: nothing may run: what protects the server cannot be done.
        objects: what to apply; empty while blocked.
        spec: None while it cannot be read.
    """

    conditions: tuple[Finding, ...]
    blocked: str = ""
    closed: bool = False
    objects: tuple[Owned, ...] = ()
    spec: MCPServerSpec | None = None


def judged(owner: JsonObject, *, proxy_image: str) -> Judged:
    """Judge the object as stored. Never raises, whatever its spec holds."""
    stored = owner.get("spec")
    closing = fail_closed(stored if isinstance(stored, dict) else {})
    problems = _name_problems(owner["metadata"]["name"])
    spec = None
    try:
        spec = MCPServerSpec.model_validate(stored)
    except ValidationError as error:
        problems += problems_of(error, "spec")
    else:
        problems += _mount_problems(spec)
    if closing or problems or spec is None:
        said = shown([str(problem) for problem in (*closing, *problems)])
        invalid = Finding(ConditionType.VALID, False, Reason.VALIDATION_FAILED, said)
        return Judged((invalid,), blocked=said, closed=bool(closing))
    conditions = [
        Finding(ConditionType.VALID, True, Reason.VALIDATION_SUCCEEDED, "the spec is valid"),
        _features(left_out(spec)),
    ]
    try:
        objects = tuple(desired(ServerWanted(owner, spec, proxy_image)))
    except InvalidPodTemplate as error:
        return Judged((*conditions[1:], *invalid_pod_template(str(error))), blocked=str(error), spec=spec)
    if spec.pod_template_spec:
        said = "spec.podTemplateSpec is merged into the server's pod"
        conditions.append(Finding(ConditionType.POD_TEMPLATE_SPEC_VALID, True, Reason.POD_TEMPLATE_SPEC_VALID, said))
    return Judged(tuple(conditions), objects=objects, spec=spec)


def invalid_pod_template(message: str) -> tuple[Finding, Finding]:
    """The conditions when the podTemplateSpec cannot be merged."""
    return (
        Finding(ConditionType.VALID, False, Reason.VALIDATION_FAILED, message),
        Finding(ConditionType.POD_TEMPLATE_SPEC_VALID, False, Reason.INVALID_POD_TEMPLATE_SPEC, message),
    )


def _features(paths: Sequence[str]) -> Finding:
    if paths:
        message = f"runs without what is not built yet: {shown(paths, ', ')}"
        return Finding(ConditionType.FEATURES_SUPPORTED, False, Reason.LEFT_OUT, message)
    return Finding(ConditionType.FEATURES_SUPPORTED, True, Reason.ALL_SUPPORTED, "all that the spec asks for is done")


def _name_problems(name: str) -> list[Problem]:
    if len(name) > LONGEST_NAME:
        return [Problem("metadata.name", f"has {len(name)} characters; at most {LONGEST_NAME} fit into a pod's labels")]
    if not _NAME.fullmatch(name):
        message = "a Service is named for it, so only lower case letters, digits and dashes; choose another name"
        return [Problem("metadata.name", message)]
    return []


def _mount_problems(spec: MCPServerSpec) -> list[Problem]:
    """What a list of the API server's tells apart by mountPath, and the spec by name."""
    seen: set[str] = set()
    problems = []
    for index, volume in enumerate(spec.volumes or ()):
        if volume.mount_path in seen:
            path = field_path("spec", "volumes", index, "mountPath")
            problems.append(Problem(path, f"{volume.mount_path} is mounted already; choose another folder"))
        seen.add(volume.mount_path)
    return problems
