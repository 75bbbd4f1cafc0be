"""A thousand objects of ten backends each: created at once, at rest, and when backends flip."""

import asyncio
import time
from collections import Counter
from typing import Final

from bench.operator import audit, flips, kubelet
from bench.operator.applies import burst
from bench.operator.objects import BACKENDS_EACH, Fleet, gateway_name
from bench.operator.stage import Stage, at_once, stage
from bench.operator.statuses import Statuses

from vmcp_dev.runner import LocalRunner
from vmcp_dev.runnerthread import RunnerThread

OBJECTS: Final = 1_000
GATEWAYS: Final = 3
SETTLE_S: Final = 30.0
NODES: Final = "none: a control plane on the same cores; the bench calls pods ready, and three gateways run"
_GATEWAY_S: Final = 300.0


async def measure(objects: int, rest_s: float) -> dict[str, object]:
    """On a control plane of its own."""
    async with stage() as on:
        fleet = Fleet("fleet", 0, objects, on.backends_port)
        statuses = Statuses()
        await on.prepare(fleet)
        _tell(f"{objects * BACKENDS_EACH} backends are known")
        burst_s = await burst(on, fleet)
        _tell(f"{objects} Deployments after {burst_s} s")
        await statuses.follow(on, fleet)
        await kubelet.play(on, fleet.namespace)
        await statuses.until_ready(fleet)
        await on.until_idle()
        await asyncio.sleep(SETTLE_S)
        _tell("at rest")
        figures = {"fleet_objects": objects, f"burst_{objects}_s": burst_s} | await _rest(on, objects, rest_s)
        figures |= await flips.to_status(on, fleet, statuses)
        _tell("flips are over")
        figures |= await _gateways(on, objects)
    return figures


async def _rest(on: Stage, objects: int, seconds: float) -> dict[str, object]:
    before, began = await on.reading(), audit.now()
    await asyncio.sleep(seconds)
    after, ended = await on.reading(), audit.now()
    assert on.control_plane.audit_log is not None
    found = await asyncio.to_thread(audit.calls, on.control_plane.audit_log, on.operator.pid, began, ended)
    per_hour = 3600 / (ended - began) / objects
    return {
        f"rss_mb_{objects}": round(after.rss_mb),
        "rest_s": round(ended - began),
        "rest_cpu_share": round((after.cpu_s - before.cpu_s) / (after.at - before.at), 4),
        "checks_per_s_at_rest": round(_rate(before.totals, after.totals, "vmcp_probe_lateness_seconds_count", seconds)),
        "writes_per_object_hour_at_rest": round(found.writes * per_hour, 2),
        "reads_per_object_hour_at_rest": round(found.reads * per_hour, 2),
        "calls_at_rest": dict(Counter(found.by_kind).most_common()),
    }


async def _gateways(on: Stage, first: int) -> dict[str, object]:
    """Beside the fleet, a few objects whose gateways run, checked every other second so that flips are found soon."""
    fleet = Fleet("gates", first, GATEWAYS, on.backends_port, interval="2s", timeout="1900ms")
    statuses = Statuses()
    await on.prepare(fleet)
    with RunnerThread(LocalRunner(on.control_plane.kubeconfig, on.control_plane.folder / "pods")) as runner:
        await statuses.follow(on, fleet)
        await at_once(on.apply(fleet.gateway(number)) for number in fleet.numbers)
        urls = {
            number: await asyncio.to_thread(runner.wait_address, fleet.namespace, gateway_name(number), _GATEWAY_S)
            for number in fleet.numbers
        }
        return await flips.to_gateway(on, fleet, statuses, urls)


def _rate(before: dict[str, float], after: dict[str, float], name: str, seconds: float) -> float:
    return (after.get(name, 0.0) - before.get(name, 0.0)) / seconds


def _tell(what: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {what}", flush=True)
