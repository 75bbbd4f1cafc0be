"""A bench as a command: runs parts, keeps the last figures of the others, and writes results, plots and tables."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
README: Final = ROOT / "README.md"

Figures = dict[str, Any]
Part = Callable[[], dict[str, object]]
Row = tuple[str, str, str, str]
"""What, the figure's key, how it is printed, the goal."""


@dataclass(frozen=True, slots=True)
class Block:
    """Generated text, and the pages where it stands between marks."""

    name: str
    text: Callable[[Figures], str]
    pages: Sequence[Path]


@dataclass(frozen=True, slots=True)
class Suite:
    """What one bench measures.

    Attributes:
        name: as in `make bench-NAME`.
        options: adds options of its own; every one has a default.
        parts: by the options; in the order in which they are measured.
        machine: what else tells of the machine. Raises LookupError: something is not installed; the message says what.
        draw: writes the plots into a folder.
    """

    name: str
    options: Callable[[argparse.ArgumentParser], None]
    parts: Callable[[argparse.Namespace], Mapping[str, Part]]
    machine: Callable[[], dict[str, object]]
    draw: Callable[[Figures, Path], None]
    blocks: Sequence[Block]


def main(suite: Suite) -> None:
    """Run the command."""
    results = ROOT / "bench" / "results" / f"{suite.name}.json"
    parser = argparse.ArgumentParser(prog=f"python -m bench.{suite.name}", description=__doc__)
    suite.options(parser)
    every = tuple(suite.parts(parser.parse_args([])))
    parser.add_argument("part", nargs="*", choices=[*every, []], help=f"any of {', '.join(every)}; none = all")
    parser.add_argument("--results", type=Path, default=results, help="file to write")
    parser.add_argument("--draw", action="store_true", help="measure nothing: plots and tables of the last figures")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit(f"bench-{suite.name} reads CPU time from /proc and listens on all of 127.0.0.0/8: it needs Linux")
    figures: Figures = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    if not arguments.draw:
        try:
            machine = _machine() | suite.machine()
        except LookupError as error:
            sys.exit(f"bench-{suite.name}: {error}")
        for name, measure in suite.parts(arguments).items():
            if name in (arguments.part or every):
                _run(name, measure, figures)
        figures |= {"machine": machine, "measured_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.results == results:
        suite.draw(figures, DOCS)
        for block in suite.blocks:
            for page in block.pages:
                _write_into(page, suite.name, block.name, block.text(figures))
    print(f"\nresults: {arguments.results}\n\n{suite.blocks[0].text(figures)}")


def table(rows: Sequence[Row], figures: Figures) -> str:
    """The figures beside their goals, as Markdown; rows without a figure are left out."""
    lines = ["| what | measured | goal |", "|---|---|---|"]
    lines += [f"| {what} | {form.format(figures[key])} | {goal} |" for what, key, form, goal in rows if key in figures]
    return "\n".join(lines)


def versions(*packages: str) -> dict[str, object]:
    """Of the installed packages, under their names in results."""
    return {package.replace("-", "_"): version(package) for package in packages}


def rounds_and_seconds(rounds: int, seconds: float) -> Callable[[argparse.ArgumentParser], None]:
    """The options of benches whose contestants take turns."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--rounds", type=int, default=rounds, help="turns of each contestant, one after another")
        parser.add_argument("--seconds", type=float, default=seconds, help="that a turn is measured")

    return add


def _write_into(page: Path, suite: str, block: str, text: str) -> None:
    """Put the text between the marks of the page, where it has them."""
    begin, end = f"<!-- {block}: written by make bench-{suite} -->", f"<!-- end of {block} -->"
    before, mark, rest = page.read_text().partition(begin)
    if mark:
        page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")


def _run(name: str, measure: Part, figures: Figures) -> None:
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    found = measure()
    figures.update(found)
    load = round(os.getloadavg()[0], 1)
    figures.setdefault("load_average", {})[name] = load
    shown = {key: value for key, value in found.items() if not isinstance(value, dict)}
    print(f"{name}: {time.monotonic() - began:.0f} s, load {load}  {json.dumps(shown)}", flush=True)


def _machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
