"""The silence of watches, seen from the session that carries them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from tests.handlers.waiting import until

from vmcp.handlers.watchage import WatchAge


class Now:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Streams:
    """A server whose answers go on until told to end; a bookmark is sent when told to."""

    def __init__(self) -> None:
        self.bookmark = asyncio.Event()
        self.end = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"first": 1}\n')
        await self.bookmark.wait()
        await response.write(b'{"type": "BOOKMARK"}\n')
        await self.end.wait()
        return response

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            self.bookmark.set()
            self.end.set()
            await runner.cleanup()


async def read(session: aiohttp.ClientSession, url: str, into: list[bytes]) -> None:
    async with session.get(url) as response:
        async for chunk in response.content.iter_chunked(1024):
            into.append(chunk)


async def test_a_bookmark_ends_the_silence_and_a_closed_watch_is_no_longer_waited_for() -> None:
    now, streams = Now(), Streams()
    chunks: list[bytes] = []
    age = WatchAge(now)
    async with streams.served() as url, age.session() as session, asyncio.TaskGroup() as readers:
        readers.create_task(read(session, f"{url}/widgets?watch=true", chunks))
        await until(lambda: len(chunks) == 1)
        assert age.has_opened
        now.seconds += 50
        assert age.seconds == 50
        streams.bookmark.set()
        await until(lambda: len(chunks) == 2)
        assert age.seconds == 0
        now.seconds += 7
        streams.end.set()
        await asyncio.sleep(0.1)
    assert age.seconds == 7
    age.heard(1)
    now.seconds += 1
    age.heard(2)
    assert age.seconds == 1, "the most silent of all that are open"
    age.closed(1)
    assert age.seconds == 0
    assert b"".join(chunks) == b'{"first": 1}\n{"type": "BOOKMARK"}\n'


async def test_what_is_no_watch_tells_nothing() -> None:
    now, streams = Now(), Streams()
    chunks: list[bytes] = []
    age = WatchAge(now)
    async with streams.served() as url, age.session() as session, asyncio.TaskGroup() as readers:
        readers.create_task(read(session, f"{url}/widgets", chunks))
        now.seconds += 50
        await until(lambda: len(chunks) == 1)
        assert age.seconds == 50
        assert not age.has_opened
        streams.bookmark.set()
        streams.end.set()
