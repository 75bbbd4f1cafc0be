"""What an account may do by its roles, and what it did by the audit log."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import yaml

from e2e.release import CHART

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource. A subresource is `pods/attach`."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"


def granted(objects: Iterable[dict[str, Any]]) -> set[Right]:
    """What the roles among those objects grant."""
    return {right for obj in objects if obj["kind"] in ("Role", "ClusterRole") for right in _rights(obj["rules"])}


def granted_on() -> set[Right]:
    """What the operator holds only because it may grant nothing else, as the chart's permissions say."""
    rules = yaml.safe_load((CHART / "files" / "permissions.yaml").read_text())
    return {
        Right(group, resource, verb)
        for rule in rules
        if rule.get("grantedOn")
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def while_installed(events: Iterable[dict[str, Any]], spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Events within those spans of time. When a release goes, its roles go before its pods have ended."""
    spans = list(spans)

    def within(event: dict[str, Any]) -> bool:
        moment = datetime.fromisoformat(event["requestReceivedTimestamp"])
        return any(begin <= moment <= end for begin, end in spans)

    return [event for event in events if within(event)]


def used(events: Iterable[dict[str, Any]]) -> set[Right]:
    """What calls needed that were let through. An apply that makes the object needs `create` beside `patch`."""
    rights = set()
    for event in events:
        right = _of(event)
        if right is None or _refused(event):
            continue
        rights.add(right)
        if right.verb == "patch" and event.get("responseStatus", {}).get("code") == 201:
            rights.add(replace(right, verb="create"))
    return rights


def refused(events: Iterable[dict[str, Any]]) -> set[Right]:
    """What was asked for and forbidden."""
    return {right for event in events if (right := _of(event)) and _refused(event)}


def _rights(rules: Iterable[dict[str, Any]]) -> Iterator[Right]:
    for rule in rules:
        for group in rule.get("apiGroups", ()):
            for resource in rule.get("resources", ()):
                for verb in rule["verbs"]:
                    yield Right(group, resource, verb)


def _of(event: dict[str, Any]) -> Right | None:
    """None for discovery and other paths that are no resources."""
    reference = event.get("objectRef")
    if not reference or "resource" not in reference:
        return None
    subresource = reference.get("subresource")
    resource = reference["resource"] + (f"/{subresource}" if subresource else "")
    return Right(reference.get("apiGroup", ""), resource, event["verb"])


def _refused(event: dict[str, Any]) -> bool:
    """By the roles. Admission answers 403, too: in a namespace that is being deleted nothing may be created."""
    return bool(event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid")
