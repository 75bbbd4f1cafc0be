"""The metrics of several processes as those of one: counters, histograms and most gauges add up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SAME_EVERYWHERE: Final = (
    "vmcp_gateway_backends",
    "vmcp_gateway_flips",
    "vmcp_gateway_list_items",
    "vmcp_gateway_list_items_left_out",
    "vmcp_gateway_session_storage_up",
)
"""Families that every worker sees as a whole: the largest number is the right one."""
_CREATED: Final = "_created"


@dataclass(slots=True)
class _Family:
    head: list[str]
    values: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.head[-1].rsplit(" ", 1)[-1]

    @property
    def name(self) -> str:
        return self.head[-1].split(" ")[2]


def summed(texts: Sequence[bytes]) -> bytes:
    """One exposition for several of the same program, in Prometheus' text format without timestamps."""
    families: dict[str, _Family] = {}
    for text in texts:
        for found in _families(text):
            known = families.setdefault(found.name, _Family(found.head))
            for series, value in found.values.items():
                known.values[series] = _together(found, series, known.values.get(series), value)
    return _text(families.values())


def without_gauges(text: bytes) -> bytes:
    """What of an exposition still counts when its process has ended."""
    return _text(found for found in _families(text) if found.kind in ("counter", "histogram"))


def _together(family: _Family, series: str, before: float | None, value: float) -> float:
    if before is None:
        return value
    if family.name.endswith(_CREATED):
        return min(before, value)
    return max(before, value) if family.name.removesuffix("_total") in SAME_EVERYWHERE else before + value


def _families(text: bytes) -> list[_Family]:
    families: list[_Family] = []
    for line in text.decode().splitlines():
        if line.startswith("# HELP"):
            families.append(_Family([line]))
        elif line.startswith("# TYPE"):
            families[-1].head.append(line)
        elif line:
            series, _, value = line.rpartition(" ")
            families[-1].values[series] = float(value)
    return families


def _text(families: Iterable[_Family]) -> bytes:
    lines: list[str] = []
    for family in families:
        lines += family.head
        lines += [f"{series} {value!r}" for series, value in family.values.items()]
    return "\n".join(lines).encode() + b"\n"
