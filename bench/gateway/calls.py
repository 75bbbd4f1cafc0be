"""What a call costs: every contestant before the same backends, in turns, CPU of its whole process tree."""

import contextlib
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.gateway import contestants
from bench.gateway.contestants import Backends, Running
from bench.gateway.load import Turn, run_wrk

FEW: Final = 2
MANY: Final = 200
FASTMCP_SECONDS: Final = 8.0
FASTMCP_CONNECTIONS: Final = 4
"""It takes a tenth of a second of CPU for a call: of 32 begun at once none would end within a turn."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to call.

    Attributes:
        own: tool; its result is 1 KB or 64 KB. Arguments are always 1 KB.
        backends: so many stand behind the contestant, called in turn.
    """

    own: str
    connections: int
    backends: int = FEW


CELLS: Final = {
    "1kb_32": Cell("echo", 32),
    "1kb_1": Cell("echo", 1),
    "1kb_256": Cell("echo", 256),
    "64kb_32": Cell("large", 32),
    "1kb_32_200": Cell("echo", 32, MANY),
}


def measure(rounds: int, seconds: float) -> dict[str, object]:
    """Medians over the rounds, and every round of the cell that counts."""
    turns: dict[str, dict[str, list[Turn]]] = {cell: {} for cell in CELLS}
    memory: dict[str, dict[str, float]] = {}
    with ExitStack() as running:
        behind = running.enter_context(contestants.backends(MANY))
        enter = running.enter_context
        few = [
            contestants.direct(behind),
            enter(contestants.vmcp(behind, FEW)),
            enter(contestants.vmcp(behind, FEW, modern=True)),
            enter(contestants.envoy_router(behind, FEW)),
        ]
        many = [
            enter(contestants.vmcp(behind, MANY)),
            enter(contestants.vmcp(behind, MANY, modern=True)),
            enter(contestants.envoy_router(behind, MANY)),
        ]
        for one in few[1:]:
            memory[one.name] = {"idle": round(one.pss_mb(), 1)}
        for one in many:
            memory[one.name]["idle_200_backends"] = round(one.pss_mb(), 1)
        with contextlib.ExitStack() as slow:
            fastmcp = slow.enter_context(contestants.fastmcp_proxy(behind, FEW))
            memory["fastmcp"] = {"idle": round(fastmcp.pss_mb(), 1)}
            for number in range(rounds):
                _round(turns, "1kb_32", [*few, fastmcp], behind, seconds)
                _tell(number, "1kb_32", turns)
        for name in list(CELLS)[1:]:
            present = many if CELLS[name].backends == MANY else few
            for number in range(rounds):
                _round(turns, name, present, behind, max(1.0, seconds / 2))
                _tell(number, name, turns)
        for one in few[1:]:
            memory[one.name]["after_load"] = round(one.pss_mb(), 1)
    return {**_headline(turns, memory), "cells": {name: _medians(seen) for name, seen in turns.items()}}


def one_turn(one: Running, requests: Sequence[bytes], behind: Backends, *, connections: int, seconds: float) -> Turn:
    """Load a contestant with calls.

    Raises:
        RuntimeError: calls failed, or not all of them reached a backend: an MCP error is a 200 too.
    """
    calls, cpu = behind.counts().get("tools/call", 0), one.cpu_seconds()
    turn = run_wrk(one.door, requests, connections=connections, seconds=seconds)
    used = one.cpu_seconds() - cpu
    arrived = behind.counts().get("tools/call", 0) - calls
    if turn.failed or turn.requests == 0 or arrived < 0.98 * turn.requests:
        raise RuntimeError(f"{one.name}: {turn.requests} calls, {arrived} reached a backend, {turn.failed} failed")
    return replace(turn, cpu_us=used / turn.requests * 1e6)


def _round(
    turns: dict[str, dict[str, list[Turn]]], name: str, present: Sequence[Running], behind: Backends, seconds: float
) -> None:
    cell = CELLS[name]
    for one in present:
        requests = [one.door.call(cell.own, number) for number in range(1, cell.backends + 1)]
        if one.name == "direct":
            requests = requests[:1]
        connections, duration = cell.connections, seconds
        if one.name == "fastmcp":
            connections, duration = FASTMCP_CONNECTIONS, max(seconds, FASTMCP_SECONDS)
        turn = one_turn(one, requests, behind, connections=connections, seconds=duration)
        turns[name].setdefault(one.name, []).append(turn)


def _tell(number: int, name: str, turns: dict[str, dict[str, list[Turn]]]) -> None:
    latest = ", ".join(f"{one} {seen[-1].cpu_us:,.0f} µs" for one, seen in turns[name].items())
    print(f"  {name} round {number + 1}: {latest}", flush=True)


def _medians(seen: dict[str, list[Turn]]) -> dict[str, Any]:
    return {
        name: {
            "cpu_us": round(statistics.median(turn.cpu_us for turn in turns), 1),
            "cpu_us_rounds": [round(turn.cpu_us, 1) for turn in turns],
            "p50_ms": round(statistics.median(turn.p50_ms for turn in turns), 3),
            "p99_ms": round(statistics.median(turn.p99_ms for turn in turns), 3),
            "calls_per_second": round(statistics.median(turn.requests / turn.wall_s for turn in turns)),
            "core_share": round(
                statistics.median(turn.cpu_us * turn.requests / turn.wall_s / 1e6 for turn in turns), 2
            ),
        }
        for name, turns in seen.items()
    }


def _headline(turns: dict[str, dict[str, list[Turn]]], memory: dict[str, dict[str, float]]) -> dict[str, object]:
    base = turns["1kb_32"]
    cpu = {name: statistics.median(turn.cpu_us for turn in seen) for name, seen in base.items()}
    ratios = [ours.cpu_us / envoy.cpu_us for ours, envoy in zip(base["vmcp"], base["envoy"], strict=True)]
    modern = [ours.cpu_us / envoy.cpu_us for ours, envoy in zip(base["vmcp_modern"], base["envoy"], strict=True)]
    single = turns["1kb_1"]
    pairs = list(zip(single["vmcp"], single["direct"], strict=True))
    envoys = list(zip(single["envoy"], single["direct"], strict=True))
    return {
        **{f"{name}_cpu_us_per_call": round(value, 1) for name, value in cpu.items()},
        # Each round by itself: whatever else the machine did then, both had of it.
        "ratio_to_envoy": round(statistics.median(ratios), 3),
        "modern_ratio_to_envoy": round(statistics.median(modern), 3),
        "ratio_to_envoy_rounds": [round(ratio, 3) for ratio in ratios],
        "added_latency_p50_ms": round(statistics.median(ours.p50_ms - none.p50_ms for ours, none in pairs), 3),
        "added_latency_p99_ms": round(statistics.median(ours.p99_ms - none.p99_ms for ours, none in pairs), 3),
        "envoy_added_latency_p50_ms": round(statistics.median(one.p50_ms - none.p50_ms for one, none in envoys), 3),
        "envoy_added_latency_p99_ms": round(statistics.median(one.p99_ms - none.p99_ms for one, none in envoys), 3),
        "added_latency_p99_ms_best_round": round(min(ours.p99_ms - none.p99_ms for ours, none in pairs), 3),
        "rss_mb": memory["vmcp"]["idle"],
        "memory_mb": memory,
    }
