"""MCP clients that call all the time, and what became of every call."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from mcp import Client

from e2e.session import opened
from e2e.waiting import until

_CALL_SECONDS = 30.0

Echo = Callable[[str], Awaitable[str]]
"""Calls the tool with a text and gives what it answers."""

Connect = Callable[[str, str, int], AbstractAsyncContextManager[Echo]]
"""A client of a URL that calls a tool; the number tells it from the others."""


@dataclass(slots=True)
class Calls:
    """What became of the calls.

    Attributes:
        answered: how many got the right answer.
        dropped: what the others got instead.
        slowest_s: how long the slowest answered call took.
    """

    answered: int = 0
    dropped: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    async def more(self, count: int, *, limit_s: float) -> None:
        """Return when that many more calls have been answered.

        Raises:
            NotInTime: they are not within the limit.
        """
        wanted = self.answered + count

        async def reached() -> bool:
            return self.answered >= wanted

        await until(f"{count} more calls are answered", reached, limit_s=limit_s)


@asynccontextmanager
async def official(url: str, tool: str, number: int) -> AsyncIterator[Echo]:
    """A client of the official SDK; every other one speaks the Legacy era."""
    mode = "auto" if number % 2 else "legacy"
    async with Client(url, mode=mode, cache=None, read_timeout_seconds=_CALL_SECONDS) as client:
        await client.list_tools()

        async def echo(text: str) -> str:
            answer = await client.call_tool(tool, {"text": text})
            return answer.content[0].text if answer.content and answer.content[0].type == "text" else ""

        yield echo


@asynccontextmanager
async def by_hand(url: str, tool: str, number: int) -> AsyncIterator[Echo]:
    """A session that outlives its connections."""
    async with opened(url) as session:
        yield lambda text: session.call(tool, text=text)


@asynccontextmanager
async def calling(
    url: str, tool: str, *, clients: int = 4, connect: Connect = official, pause_s: float = 0.1
) -> AsyncIterator[Calls]:
    """Clients that call an `echo` tool while this is entered, each in one session."""
    calls = Calls()
    stop = asyncio.Event()
    connected = asyncio.Barrier(clients + 1)

    async def one(number: int) -> None:
        async with connect(url, tool, number) as echo:
            await connected.wait()
            for count in itertools.count():
                if stop.is_set():
                    return
                await _call(echo, f"{number}/{count}", calls)
                await asyncio.sleep(pause_s)

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(one(number), name=f"client {number}")
        await connected.wait()
        yield calls
        stop.set()


async def _call(echo: Echo, text: str, calls: Calls) -> None:
    started = time.monotonic()
    try:
        said = await echo(text)
    except Exception as error:
        calls.dropped.append(f"{text}: {error!r}")
        return
    if said == text:
        calls.answered += 1
        calls.slowest_s = max(calls.slowest_s, time.monotonic() - started)
    else:
        calls.dropped.append(f"{text}: answered {said!r}")
