"""What a replica keeps for the others is the latest, and nothing that it owes them is lost on the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from tests.gateway.world import PATIENCE_S, until

from vmcp.gateway.changes import Changes
from vmcp.gateway.links import Links
from vmcp.gateway.outside import Outside
from vmcp.gateway.seal import Seal
from vmcp.gateway.sessions import ANONYMOUS, Sessions
from vmcp.gateway.sharing.replicas import Replicas
from vmcp.gateway.sharing.storage import Storage
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport


class Slow(Storage):
    """Answers each write when the test says so, in the order that it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.there = True
        self.kept: dict[str, bytes] = {}
        self.writes: list[asyncio.Future[None]] = []
        self.reads = 0
        self.present_again: Callable[[], None] = lambda: None

    @property
    def present(self) -> bool:
        return self.there

    async def read(self, *keys: str) -> Sequence[bytes | None]:
        self.reads += 1
        return [self.kept.get(key) for key in keys]

    async def write(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        if not self.there:
            return False
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writes.append(answered)
        async with asyncio.timeout(PATIENCE_S):
            await answered
        self.kept[key] = value
        return True

    async def touch(self, keys: Sequence[str], *, ttl_s: float) -> None: ...

    async def delete(self, key: str) -> None:
        self.kept.pop(key, None)

    def tell(self, news: bytes) -> None: ...

    async def run(self, heard: Callable[[bytes], None], present: Callable[[], None]) -> None:
        self.present_again = present
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None: ...


class World:
    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.storage = Slow()
        seal = Seal.of_this_process()
        links = Links(transport=HttpTransport(guard=AddressGuard()), tasks=tasks, version="0")
        outside = Outside(
            links=links, stale=lambda *_: None, route=lambda uri: None, tasks=tasks, upstream=lambda name: None
        )
        self.sessions = Sessions(Changes(), seal=seal)
        self.replicas = Replicas(self.storage, seal=seal, sessions=self.sessions, outside=outside, tasks=tasks)
        self.others = Replicas(
            self.storage, seal=seal, sessions=Sessions(Changes(), seal=seal), outside=outside, tasks=tasks
        )
        tasks.create_task(self.replicas.run())


class _Over(Exception):
    pass


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    try:
        async with asyncio.TaskGroup() as tasks:
            it = World(tasks)
            await asyncio.sleep(0)
            yield it
            raise _Over
    except* _Over:
        pass


async def test_the_latest_is_kept_whichever_write_comes_last() -> None:
    async with world() as it:
        session = it.sessions.open("2025-11-25", identity=ANONYMOUS)
        writing = []
        for level in ("debug", "error"):
            session.level = level
            writing.append(asyncio.create_task(it.replicas.remember(session)))
            await until(lambda: len(it.storage.writes) == len(writing))
        for write in reversed(tuple(it.storage.writes)):
            write.set_result(None)
            await asyncio.sleep(0.01)

        def answered() -> bool:
            for write in it.storage.writes:
                if not write.done():
                    write.set_result(None)
            return all(task.done() for task in writing)

        await until(answered)
        found = await it.others.find(session.ident, ANONYMOUS)
        assert found is not None
        assert found.level == "error"


async def test_a_storage_that_comes_and_goes_is_told_of_every_end(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as it:
        idents = [it.sessions.open("2025-11-25", identity=ANONYMOUS).ident for _ in range(4)]
        it.storage.there = False
        for ident in idents:
            await it.replicas.end(ident)
        it.storage.there = True
        # It was away for another moment.
        for _ in range(2):
            it.storage.present_again()

        def told() -> bool:
            for write in it.storage.writes:
                if not write.done():
                    write.set_result(None)
            return len(it.storage.kept) == len(idents) and it.storage.reads == 2

        await until(told)
        assert "could not be followed" not in caplog.text
