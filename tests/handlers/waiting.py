"""Waiting for what a loop does, as long as a busy machine may need."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 60.0


async def until(met: Callable[[], bool]) -> None:
    """Return as soon as it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if met():
                return
            await asyncio.sleep(0.001)
