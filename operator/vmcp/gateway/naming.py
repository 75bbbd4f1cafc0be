"""Public names: which name a client sees for an item of a backend, and back.

A public name is the backend's prefix and the item's own name. Two items never share one: where prefixes make two
names meet (`a` + `b_c` and `a_b` + `c`), the first backend by name keeps the plain form and the other gets a short
hash of its own. The result depends on the set of items only, never on the order in which backends answered.
"""

import hashlib
import re
from collections.abc import Callable, Iterable

MAX_TOOL_NAME_CHARS = 128
"""The protocol's bound. Prefixes eat into it, so a longer name is cut and ends in a hash."""

DEFAULT_PREFIX_FORMAT = "{workload}_"

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]")
_HASH_CHARS = 8


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


def assign(items: Iterable[tuple[str, str]], wanted: Callable[[str, str], str]) -> dict[str, tuple[str, str]]:
    """Public name -> (backend, own name), one to one.

    Args:
        items: (backend, own name) of every item.
        wanted: the public name for (backend, own name) where nothing else claims it.
    """
    names: dict[str, tuple[str, str]] = {}
    for item in sorted(set(items)):
        name = wanted(*item)
        attempt = 0
        while name in names:
            attempt += 1
            name = _cut(wanted(*item), f"{item[0]}\0{item[1]}\0{attempt}")
        names[name] = item
    return names


def _cut(name: str, source: str) -> str:
    digest = hashlib.sha256(source.encode()).hexdigest()[:_HASH_CHARS]
    return f"{name[: MAX_TOOL_NAME_CHARS - _HASH_CHARS - 1]}_{digest}"
