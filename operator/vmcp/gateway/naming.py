"""Public names: which name a client sees for an item of a backend, and back.

A public name is the backend's prefix and the item's own name, or the name that a rule gives it. Two items never share
one: where claims meet (`a` + `b_c` and `a_b` + `c`), the first keeps the plain form, and the other gets a short hash of
its own or is left out. The result depends on the order of the claims only, never on which backend answered first.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_TOOL_NAME_CHARS = 128
"""The protocol's bound. Prefixes eat into it, so a longer name is cut and ends in a hash."""

DEFAULT_PREFIX_FORMAT = "{workload}_"

Target = tuple[str, str]
"""Backend and the item's own name or URI."""

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]")
_HASH_CHARS = 8


@dataclass(frozen=True, slots=True)
class Claim:
    """The public name that an item asks for."""

    target: Target
    public: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item that no client sees, since another one has its name."""

    claim: Claim
    kept: Target


def prefix_of(workload: str, prefix_format: str = DEFAULT_PREFIX_FORMAT) -> str:
    """The prefix of a backend's names. A format without `{workload}` is the same literal prefix for all backends."""
    return prefix_format.replace("{workload}", workload)


def tool_name(prefix: str, own: str) -> str:
    """The wanted public name of a tool: only characters and a length that every client accepts."""
    name = _NOT_ALLOWED.sub("_", prefix + own)
    return name if len(name) <= MAX_TOOL_NAME_CHARS else _cut(name, prefix + own)


def prompt_name(prefix: str, own: str) -> str:
    """The wanted public name of a prompt. The protocol restricts neither characters nor length."""
    return prefix + own


def keep_all(claims: Iterable[Claim]) -> dict[str, Target]:
    """Public name -> item, one to one and none lost: where a name is taken, the later claim gets a hash."""
    names: dict[str, Target] = {}
    for claim in claims:
        name = claim.public
        attempt = 0
        while name in names:
            attempt += 1
            name = _cut(claim.public, f"{claim.target[0]}\0{claim.target[1]}\0{attempt}")
        names[name] = claim.target
    return names


def keep_first(claims: Iterable[Claim]) -> tuple[dict[str, Target], list[LeftOut]]:
    """Public name -> item, one to one: where a name is taken, the later claim is left out."""
    names: dict[str, Target] = {}
    left_out: list[LeftOut] = []
    for claim in claims:
        kept = names.setdefault(claim.public, claim.target)
        if kept != claim.target:
            left_out.append(LeftOut(claim, kept))
    return names, left_out


def _cut(name: str, source: str) -> str:
    digest = hashlib.sha256(source.encode()).hexdigest()[:_HASH_CHARS]
    return f"{name[: MAX_TOOL_NAME_CHARS - _HASH_CHARS - 1]}_{digest}"
