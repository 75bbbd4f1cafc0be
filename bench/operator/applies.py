"""From an apply to a Deployment that exists: one at a time, and a hundred at once."""

import asyncio
import time
from functools import partial
from typing import Final

from bench.operator.objects import Fleet, JsonObject, gateway_name
from bench.operator.shares import percentile
from bench.operator.stage import OURS, Stage, at_once, stage, until

ONE_BY_ONE: Final = 100
BURST: Final = 100
PAUSE_S: Final = 0.2


class Deployments:
    """When the watch first showed each Deployment, in monotonic seconds, by name."""

    def __init__(self) -> None:
        self.seen_at: dict[str, float] = {}

    def see(self, event: str, obj: JsonObject) -> None:
        """An event of the watch."""
        del event
        self.seen_at.setdefault(obj["metadata"]["name"], time.monotonic())

    async def follow(self, stage: Stage, fleet: Fleet) -> None:
        """Watch those of a fleet."""
        await stage.watch(f"/apis/apps/v1/namespaces/{fleet.namespace}/deployments", OURS, self.see)


async def measure() -> dict[str, object]:
    """On a control plane of its own."""
    async with stage() as on:
        single = Fleet("single", 0, ONE_BY_ONE, on.backends_port)
        hundred = Fleet("hundred", ONE_BY_ONE, BURST, on.backends_port)
        await on.prepare(single)
        await on.prepare(hundred)
        took = await _one_by_one(on, single)
        await on.until_idle()
        burst_s = await burst(on, hundred)
    return {
        "apply_to_deployment_p50_ms": percentile(took, 50),
        "apply_to_deployment_p99_ms": percentile(took, 99),
        "apply_to_deployment_ms": sorted(took),
        "burst_100_s": burst_s,
    }


async def burst(on: Stage, fleet: Fleet) -> float:
    """Seconds from the first apply to the last Deployment."""
    deployments = Deployments()
    await deployments.follow(on, fleet)
    began = time.monotonic()
    await at_once(on.apply(fleet.gateway(number)) for number in fleet.numbers)
    await until(lambda: len(deployments.seen_at) == fleet.size, "every Deployment exists")
    return round(max(deployments.seen_at.values()) - began, 2)


async def _one_by_one(on: Stage, fleet: Fleet) -> list[float]:
    """Milliseconds of each: from before the request is sent to the event that tells of the Deployment."""
    deployments = Deployments()
    await deployments.follow(on, fleet)
    took = []
    for number in fleet.numbers:
        name, began = gateway_name(number), time.monotonic()
        await on.apply(fleet.gateway(number))
        await until(partial(deployments.seen_at.__contains__, name), f"Deployment {name} exists")
        took.append(round((deployments.seen_at[name] - began) * 1000, 1))
        await asyncio.sleep(PAUSE_S)
    return took
