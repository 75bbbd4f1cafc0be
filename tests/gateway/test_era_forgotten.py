"""What a backend answers is read in the era in which it was asked, though it has left the configuration since."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.gateway.scripted import Scripted
from tests.gateway.speakers import ModernSpeaker
from tests.gateway.world import BackendServer, config, entry, gateway, until


class Slow(Scripted):
    """Legacy; answers its call when it is told to."""

    def __init__(self) -> None:
        super().__init__({"tools/call": b'{"content":[]}'}, modern=False)
        self.released = False

    async def _send(self, send: Any, status: int, body: bytes) -> None:
        async with asyncio.timeout(60):
            while b'"content"' in body and not self.released:  # noqa: ASYNC110  the other thread has no event of this loop
                await asyncio.sleep(0.01)
        await super()._send(send, status, body)


@asynccontextmanager
async def served(app: Slow) -> AsyncIterator[str]:
    server = BackendServer(lambda: app)
    server.start()
    try:
        yield server.url
    finally:
        app.released = True
        await asyncio.to_thread(server.stop)


async def test_a_legacy_answer_becomes_a_modern_one_though_its_backend_has_left(tmp_path: Path) -> None:
    app = Slow()
    async with served(app) as url, gateway(tmp_path, config(entry("s", url))) as running:
        client = ModernSpeaker(running)

        async def listed() -> bool:
            return "s_echo" in (await client.ask("tools/list")).text

        async def gone() -> bool:
            return not (await running.get("/status")).json()["backends"]

        await until(listed)
        under_way = asyncio.create_task(client.ask("tools/call", {"name": "s_echo", "arguments": {}}))
        await until(lambda: any(request["method"] == "tools/call" for request in app.requests))
        running.write(config())
        await until(gone)
        # Its session is ended, as the last thing that is done for a backend that leaves.
        await asyncio.sleep(0.2)
        app.released = True
        assert (await under_way).json()["result"] == {"content": [], "resultType": "complete"}
