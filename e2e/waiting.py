"""Waiting for what a cluster does in its own time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

T = TypeVar("T")

EVERY_S = 0.2


class NotInTime(AssertionError):
    """What was waited for did not happen within its limit. The message says what was there instead."""


async def until(what: str, seen: Callable[[], Awaitable[T]], *, limit_s: float, every_s: float = EVERY_S) -> T:
    """What `seen` gives as soon as that is true.

    An API server or a gateway that cannot be reached has not shown it yet.

    Raises:
        NotInTime: it is not within the limit.
    """
    deadline = time.monotonic() + limit_s
    while True:
        last: object
        try:
            last = value = await seen()
            if value:
                return value
        except (httpx.HTTPError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise NotInTime(f"{what}: not within {limit_s:g} s; last seen: {last!r}")
        await asyncio.sleep(every_s)
