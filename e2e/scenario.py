"""What a scenario measured, and the table of all of them."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from e2e.waiting import until

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, its unit, and the limit that it had to keep; None where it had none."""

    scenario: str
    what: str
    value: float
    unit: str
    limit: float | None


@dataclass(slots=True)
class Scenario:
    """One scenario's figures, in the order in which they were measured."""

    name: str
    figures: list[Figure] = field(default_factory=list)

    async def until(
        self, what: str, seen: Callable[[], Awaitable[T]], *, limit_s: float, since: float | None = None
    ) -> T:
        """Wait as `waiting.until` does, and note how long it took, from now or from `since` (of time.monotonic)."""
        started = time.monotonic() if since is None else since
        value = await until(what, seen, limit_s=limit_s)
        self.note(what, time.monotonic() - started, limit=limit_s)
        return value

    def note(self, what: str, value: float, unit: str = "s", *, limit: float | None = None) -> None:
        """Note a figure.

        Raises:
            AssertionError: it is above its limit.
        """
        figure = Figure(self.name, what, round(value, 3), unit, limit)
        self.figures.append(figure)
        print(f"{self.name}: {_said(figure)}")
        assert limit is None or value <= limit, f"{self.name}: {what} was {value:.3g} {unit}, above {limit:g} {unit}"


def table(figures: Sequence[Figure]) -> str:
    """The figures for a person."""
    rows = [(figure.scenario, figure.what, _value(figure), _limit(figure)) for figure in figures]
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(4)]
    lines = [_HEAD, tuple("-" * width for width in widths), *rows]
    shown = []
    before = ""
    for scenario, what, value, limit in lines:
        first = scenario if scenario != before else ""
        before = scenario
        shown.append(f"{first:<{widths[0]}}  {what:<{widths[1]}}  {value:>{widths[2]}}  {limit:>{widths[3]}}".rstrip())
    return "\n".join(shown)


def write(figures: Sequence[Figure], path: Path) -> None:
    """The figures for a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


_HEAD = ("scenario", "what", "measured", "limit")


def _said(figure: Figure) -> str:
    return f"{figure.what}: {_value(figure)}" + (f" (limit {_limit(figure)})" if figure.limit is not None else "")


def _value(figure: Figure) -> str:
    return f"{figure.value:.2f} s" if figure.unit == "s" else f"{figure.value:g} {figure.unit}".rstrip()


def _limit(figure: Figure) -> str:
    return "" if figure.limit is None else f"{figure.limit:g} {figure.unit}".rstrip()
