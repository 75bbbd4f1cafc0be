"""What is wrong, or without effect, in the rules by which tools of several backends become one list."""

import re
from collections.abc import Collection, Iterator, Mapping

from vmcp.api.aggregation import Aggregation, ConflictResolution, WorkloadTools
from vmcp.api.problem import Problem, field_path

TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""A name that every client accepts."""

_PLACEHOLDER = "{workload}"


def aggregation_problems(aggregation: Aggregation, *path: str) -> Iterator[Problem]:
    """Contradictions that the rules show by themselves, whatever the backends offer."""
    details = aggregation.conflict_resolution_config
    if details is not None:
        place = (*path, "conflictResolutionConfig")
        yield from _format_problems(details.prefix_format, *place, "prefixFormat")
        yield from _repeated(details.priority_order or (), *place, "priorityOrder")
    entries = aggregation.tools or []
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        before = first.setdefault(entry.workload, index)
        if before != index:
            yield Problem(
                field_path(*path, "tools", index, "workload"),
                f"{entry.workload!r} has its rules in {field_path(*path, 'tools', before)} already; make them one",
            )
        for own, override in (entry.overrides or {}).items():
            if override.name and not TOOL_NAME.fullmatch(override.name):
                yield Problem(
                    field_path(*path, "tools", index, "overrides", own, "name"),
                    f"{override.name[:80]!r} is not a tool name; use at most 128 letters, digits, _, . and -",
                )
    yield from _same_name_twice(aggregation, *path)


def unmatched_workloads(aggregation: Aggregation, backends: Collection[str]) -> list[str]:
    """Names in the rules that are no backend's, sorted. They may become one, so that they are no error."""
    details = aggregation.conflict_resolution_config
    named = {entry.workload for entry in aggregation.tools or ()}
    named.update((details.priority_order if details else None) or ())
    return sorted(named.difference(backends))


def rules_without_effect(aggregation: Aggregation, *path: str) -> list[str]:
    """Sentences about rules that are sound and do not do what they seem to say."""
    found = []
    for index, entry in enumerate(aggregation.tools or ()):
        shown = {override.name: own for own, override in (entry.overrides or {}).items() if override.name}
        for position, name in enumerate(entry.filter or ()):
            own = shown.get(name)
            if own is not None and own not in (entry.filter or ()) and name not in (entry.overrides or {}):
                place = field_path(*path, "tools", index, "filter", position)
                found.append(f"{place}: filters go by the backend's own names; write {own!r} to show {name!r}")
    return found


def _format_problems(prefix_format: str, *path: str) -> Iterator[Problem]:
    if re.search(r"[{}]", prefix_format.replace(_PLACEHOLDER, "")):
        yield Problem(
            field_path(*path), f"{prefix_format[:80]!r} has another placeholder than {_PLACEHOLDER}; remove it"
        )


def _repeated(names: Collection[str], *path: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Problem(field_path(*path, index), f"{name!r} is in the order already; name every backend once")
        seen.add(name)


def _same_name_twice(aggregation: Aggregation, *path: str) -> Iterator[Problem]:
    # Under `prefix` and `priority` the backend tells equal names of two backends apart; under `manual` nothing does.
    everywhere: dict[str, str] = {}
    for index, entry in enumerate(aggregation.tools or ()):
        taken = everywhere if aggregation.conflict_resolution is ConflictResolution.MANUAL else {}
        for own, name in sorted(_claimed(aggregation, entry).items()):
            place = field_path(*path, "tools", index, "overrides", own)
            if name in taken:
                yield Problem(f"{place}.name", f"{name!r} is what {taken[name]} is shown as; choose another name")
            taken.setdefault(name, place)


def _claimed(aggregation: Aggregation, entry: WorkloadTools) -> Mapping[str, str]:
    """The names that overrides speak for, by the tool's own name; those of tools that are hidden are free."""
    if aggregation.exclude_all_tools or entry.exclude_all:
        return {}
    return {
        own: override.name or own
        for own, override in (entry.overrides or {}).items()
        if not entry.filter or own in entry.filter
    }
