"""The rules of `config.aggregation`: which tools are shown, as what, and who has a name that two want.

`filter` and `overrides` go by the names that backends give. What hides tools hides tools only: resources and prompts
have no such rule. A hidden tool takes no name and cannot be called.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw

from vmcp.api.aggregation import Aggregation, ConflictResolution, ToolAnnotations, ToolOverride, ToolVisibility
from vmcp.api.aggregation import WorkloadTools as Entry
from vmcp.gateway.listing import Item, Listed
from vmcp.gateway.naming import (
    DEFAULT_PREFIX_FORMAT,
    Claim,
    LeftOut,
    Target,
    keep_all,
    keep_first,
    prefix_of,
    prompt_name,
    tool_name,
)

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


@dataclass(frozen=True, slots=True)
class Rules:
    """How lists of several backends become one. Pure; equal for equal configurations."""

    resolution: ConflictResolution = ConflictResolution.PREFIX
    prefix_format: str = DEFAULT_PREFIX_FORMAT
    order: tuple[str, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)
    hides_unlisted: bool = False
    hides_all: bool = False

    @classmethod
    def of(cls, aggregation: Aggregation | None) -> "Rules":
        """The rules as configured, defaults where nothing is."""
        if aggregation is None:
            return cls()
        details = aggregation.conflict_resolution_config
        return cls(
            resolution=aggregation.conflict_resolution,
            prefix_format=DEFAULT_PREFIX_FORMAT if details is None else details.prefix_format,
            order=tuple((details.priority_order if details else None) or ()),
            entries={entry.workload: entry for entry in aggregation.tools or ()},
            hides_unlisted=aggregation.default_tool_visibility is ToolVisibility.DENY,
            hides_all=bool(aggregation.exclude_all_tools),
        )

    def ranked(self, backends: Iterable[str]) -> list[str]:
        """Backends in the order in which their items are listed and their claims count."""
        if self.resolution is not ConflictResolution.PRIORITY:
            return sorted(backends)
        rank = {name: position for position, name in enumerate(self.order)}
        return sorted(backends, key=lambda name: (rank.get(name, len(rank)), name))

    def shows(self, backend: str, own: str) -> bool:
        """Whether clients may see and call a tool."""
        entry = self.entries.get(backend)
        if self.hides_all or (entry is None and self.hides_unlisted):
            return False
        return entry is None or (not entry.exclude_all and (not entry.filter or own in entry.filter))

    def names(self, listed: Listed, targets: Iterable[Target]) -> tuple[dict[str, Target], list[LeftOut]]:
        """Public name or URI -> item, and what is left out because its name is taken.

        Args:
            targets: what is to be named, backends as `ranked`.
        """
        match listed:
            case Listed.TOOLS:
                return self._tool_names([target for target in targets if self.shows(*target)])
            case Listed.PROMPTS:
                return self._prompt_names(list(targets)), []
            case _:
                # A URI is what the backend itself says and is told: it cannot be renamed.
                return keep_first(Claim(target, target[1]) for target in targets)

    def members(self, listed: Listed, backend: str, item: Item) -> dict[str, Raw]:
        """Members of an item that are shown otherwise than the backend gives them, its name apart."""
        override = self._override(backend, item.own) if listed is Listed.TOOLS else None
        members: dict[str, Raw] = {}
        if override is not None and override.description:
            members["description"] = Raw(msgspec.json.encode(override.description))
        if override is not None and override.annotations is not None:
            members["annotations"] = _annotations(item, override.annotations)
        return members

    def may_own(self, listed: Listed, backend: str, public: str) -> bool:
        """Whether a name may be that of a backend's item, going by prefix and overrides alone."""
        prefix = self._prefix(backend)
        if listed is Listed.PROMPTS:
            return bool(prefix) and public.startswith(prefix)
        entry = self.entries.get(backend)
        for own in (entry.overrides if entry else None) or ():
            if self._claimed(backend, own) == public:
                return self.shows(backend, own)
        prefix = tool_name(prefix, "")
        own = public.removeprefix(prefix)
        return bool(prefix) and own != public and self.shows(backend, own) and self._claimed(backend, own) == public

    def _tool_names(self, targets: list[Target]) -> tuple[dict[str, Target], list[LeftOut]]:
        claims = [Claim(target, self._claimed(*target)) for target in targets]
        # A name that a person gave comes before one that a backend did: among all backends, and under `priority`
        # among the tools of one.
        position = {backend: rank for rank, backend in enumerate(dict.fromkeys(target[0] for target in targets))}
        by_rank = self.resolution is ConflictResolution.PRIORITY
        claims.sort(
            key=lambda claim: (
                position[claim.target[0]] if by_rank else 0,
                not self._renames(*claim.target),
                position[claim.target[0]],
                claim.target[1],
            )
        )
        if self.resolution is ConflictResolution.PREFIX:
            return keep_all(claims), []
        return keep_first(claims)

    def _prompt_names(self, targets: list[Target]) -> dict[str, Target]:
        targets = sorted(targets)
        if self.resolution is ConflictResolution.PREFIX:
            return keep_all(Claim(target, prompt_name(self._prefix(target[0]), target[1])) for target in targets)
        # No rule speaks of prompts, and none is lost: those that meet tell their backend.
        bearers: dict[str, int] = {}
        for _, own in targets:
            bearers[own] = bearers.get(own, 0) + 1
        plain = [Claim(target, target[1]) for target in targets if bearers[target[1]] == 1]
        meeting = [Claim(target, prefix_of(target[0]) + target[1]) for target in targets if bearers[target[1]] > 1]
        return keep_all([*plain, *meeting])

    def _prefix(self, backend: str) -> str:
        return prefix_of(backend, self.prefix_format) if self.resolution is ConflictResolution.PREFIX else ""

    def _claimed(self, backend: str, own: str) -> str:
        override = self._override(backend, own)
        return tool_name(self._prefix(backend), (override.name if override else None) or own)

    def _renames(self, backend: str, own: str) -> bool:
        override = self._override(backend, own)
        return override is not None and bool(override.name)

    def _override(self, backend: str, own: str) -> ToolOverride | None:
        entry = self.entries.get(backend)
        return (entry.overrides or {}).get(own) if entry is not None else None


def _annotations(item: Item, override: ToolAnnotations) -> Raw:
    """The backend's hints with those of the override in place of its own."""
    given = override.model_dump(by_alias=True, exclude_none=True)
    own = _fields_of(item.raw).get("annotations", Raw(b"{}"))
    try:
        hints: dict[str, object] = dict(_fields_of(own))
    except msgspec.MsgspecError:
        hints = {}
    return Raw(msgspec.json.encode(hints | given))
