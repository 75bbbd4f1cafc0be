"""`initialize` in a crowd, a list of 1,000 tools, memory of sessions, and whether a million calls leave a trace."""

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import uvloop
from bench.gateway import contestants
from bench.gateway.calls import one_turn
from bench.gateway.contestants import Backends, Running
from bench.gateway.load import INITIALIZE, Door, run_wrk

CROWD: Final = 100
SESSIONS: Final = 1000
SOAK_CALLS: Final = 1_000_000
_BACKENDS: Final = 200
_TOOLS_EACH: Final = 5
_PATIENCE_S: Final = 30.0


def initialize(rounds: int) -> dict[str, object]:
    """100 clients at once, each on a connection of its own."""
    begin: dict[str, Callable[[Backends], AbstractContextManager[Running]]] = {
        "vmcp": lambda behind: contestants.vmcp(behind, 2),
        "envoy": lambda behind: contestants.envoy_router(behind, 2),
    }
    figures: dict[str, object] = {}
    with contestants.backends(2) as behind:
        for name, start in begin.items():
            wall, cpu = [], []
            with start(behind) as one:
                uvloop.run(_crowd(one.door, CROWD))
                for _ in range(rounds):
                    before, began = one.cpu_seconds(), time.perf_counter()
                    uvloop.run(_crowd(one.door, CROWD))
                    wall.append(time.perf_counter() - began)
                    cpu.append((one.cpu_seconds() - before) / CROWD * 1e3)
            prefix = "" if name == "vmcp" else f"{name}_"
            figures[f"{prefix}initialize_100_at_once_s"] = round(statistics.median(wall), 3)
            figures[f"{prefix}initialize_cpu_ms"] = round(statistics.median(cpu), 3)
    return figures


def listing(rounds: int) -> dict[str, object]:
    """`tools/list` of 1,000 tools of 200 backends, one after another."""
    turns = []
    with (
        contestants.backends(_BACKENDS, tools=_TOOLS_EACH) as behind,
        contestants.vmcp(behind, _BACKENDS) as gateway,
    ):
        request = gateway.door.request("tools/list", {})
        before = behind.counts().get("tools/list", 0)
        for _ in range(rounds):
            turns.append(run_wrk(gateway.door, [request], connections=1, seconds=1))
        asked = behind.counts().get("tools/list", 0) - before
    return {
        "list_1000_tools_p50_ms": round(statistics.median(turn.p50_ms for turn in turns), 3),
        "list_1000_tools_p99_ms": round(statistics.median(turn.p99_ms for turn in turns), 3),
        "list_1000_tools_backend_requests": asked,
    }


def sessions() -> dict[str, object]:
    """Memory that live Legacy sessions take, and backend requests for one call on each."""
    with contestants.backends(2) as behind, contestants.vmcp(behind, 2) as gateway:
        uvloop.run(_crowd(gateway.door, CROWD))
        before = gateway.pss_mb()
        for _ in range(SESSIONS // CROWD):
            uvloop.run(_crowd(gateway.door, CROWD))
        grown = gateway.pss_mb() - before
        requests, calls = sum(behind.counts().values()), 200
        name = gateway.door.tool.format(own="echo", backend=1)
        for _ in range(calls):
            gateway.door.ask("tools/call", {"name": name, "arguments": {}}, name)
        counts = behind.counts()
        asked = sum(counts.values()) - requests
    return {
        "sessions_1000_mb": round(grown, 2),
        # Health checks that fell in between are in it.
        "backend_requests_per_call": round(asked / calls, 2),
    }


def soak() -> dict[str, object]:
    """Memory before and after a million calls."""
    with contestants.backends(2) as behind, contestants.vmcp(behind, 2) as gateway:
        request = [gateway.door.call()]
        made = one_turn(gateway, request, behind, connections=32, seconds=3).requests
        before, longest = gateway.pss_mb(), time.monotonic() + 300
        while made < SOAK_CALLS and time.monotonic() < longest:
            made += one_turn(gateway, request, behind, connections=32, seconds=10).requests
        after = gateway.pss_mb()
    return {"soak_calls": made, "soak_before_mb": round(before, 1), "soak_after_mb": round(after, 1)}


async def _crowd(door: Door, size: int) -> None:
    request = door.request("initialize", INITIALIZE)
    async with asyncio.TaskGroup() as clients:
        for _ in range(size):
            clients.create_task(_one(door, request))


async def _one(door: Door, request: bytes) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        reader, writer = await asyncio.open_connection(door.host, door.port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            raise RuntimeError(f"initialize was answered with {head[:40]!r}")
        # The result is in the same segment or follows at once, as JSON or as an event.
        await reader.readuntil(b"serverInfo")
        writer.close()
