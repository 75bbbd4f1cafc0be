"""A backend begins to answer 500: how long until the status says so, and until its gateway refuses calls to it.

Both times run from the check that the backend first failed. Each object has been quiet for over a second before.
"""

import asyncio
from typing import Final

from bench.operator.calling import Caller
from bench.operator.objects import BACKENDS_EACH, Fleet, address, backend_name, gateway_name
from bench.operator.shares import percentile
from bench.operator.stage import Stage, until
from bench.operator.statuses import Statuses

FLIPS: Final = 200
ROUNDS: Final = 4
QUIET_S: Final = 1.2


async def to_status(on: Stage, fleet: Fleet, statuses: Statuses) -> dict[str, object]:
    """One backend of each of 200 objects of the fleet at rest, found by the checks that are due anyway."""
    numbers = fleet.numbers[:: max(1, fleet.size // FLIPS)]
    addresses = {backend_name(number, 0): address(number, 0) for number in numbers}
    await on.tell_backends("fail " + " ".join(addresses.values()))
    await statuses.until_open(addresses)
    failed = await on.tell_backends("failed")
    took = [round((statuses.open_at[name] - failed[each]) * 1000, 1) for name, each in addresses.items()]
    return {
        "flip_to_status_p50_ms": percentile(took, 50),
        "flip_to_status_p99_ms": percentile(took, 99),
        "flip_to_status_ms": sorted(took),
    }


async def to_gateway(on: Stage, fleet: Fleet, statuses: Statuses, urls: dict[int, str]) -> dict[str, object]:
    """Every backend of a few objects with running gateways in turn, one of each object at a time."""
    found: list[float | None] = []
    for turn in range(ROUNDS):
        await on.tell_backends("mend")
        for number in fleet.numbers:
            await on.annotate(fleet, number, {"toolhive.stacklok.dev/reset": f"*@{turn}"})
        await statuses.until_ready(fleet)
        for member in range(BACKENDS_EACH):
            await asyncio.sleep(QUIET_S)
            found += await asyncio.gather(*(_flip(on, number, member, urls[number]) for number in fleet.numbers))
    took = [each for each in found if each is not None]
    return {
        "flip_to_gateway_lost": len(found) - len(took),
        "flip_to_gateway_p50_ms": percentile(took, 50),
        "flip_to_gateway_p99_ms": percentile(took, 99),
        "flip_to_gateway_ms": sorted(took),
    }


async def _flip(on: Stage, number: int, member: int, url: str) -> float | None:
    """Milliseconds from the failed check to the first call that is refused at once; None = out for another reason."""
    tool, at = f"{backend_name(number, member)}_echo", address(number, member)
    async with Caller(url) as caller:
        await until(lambda: caller.serves(tool), f"{gateway_name(number)} serves {tool}")
        calling = asyncio.create_task(caller.until_out(tool))
        await on.tell_backends(f"fail {at}")
        refused_at = await calling
    failed = await on.tell_backends("failed")
    return round((refused_at - failed[at]) * 1000, 1) if at in failed and failed[at] < refused_at else None
