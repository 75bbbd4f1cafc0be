"""A proxy in the test's own loop, and a raw client of it."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import httpx
from tests.gateway.speakers import events
from tests.gateway.world import PATIENCE_S, Running, free_port, until

from vmcp.stdio.attach import Source
from vmcp.stdio.local import Command
from vmcp.stdio.proxy import StdioOptions, serve

HERE = Path(__file__).parent
TALKING = Command([sys.executable, str(HERE / "talking.py")])
CRUDE = Command([sys.executable, str(HERE / "crude.py")])


@contextlib.asynccontextmanager
async def proxy(source: Source, *, ready: bool = True, **options: Any) -> AsyncIterator[Running]:
    running = Running(HERE, free_port())
    stopping = asyncio.Event()
    task = asyncio.create_task(
        serve(StdioOptions(source, port=int(running.origin.rpartition(":")[2]), **options), stopping=stopping)
    )
    try:
        await until(lambda: _answers(running, task, 200 if ready else 503))
        yield running
    finally:
        stopping.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


class Speaker:
    """A client on raw HTTP.

    Attributes:
        heard: what came on its GET stream.
        greeting: the answer to its `initialize`.
    """

    def __init__(self, running: Running, session: str, greeting: dict[str, Any]) -> None:
        self.running = running
        self.session = session
        self.greeting = greeting
        self.heard: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, running: Running, *, version: str = "2025-11-25", **capabilities: Any) -> Self:
        params = {
            "protocolVersion": version,
            "capabilities": capabilities,
            "clientInfo": {"name": "t", "version": "0"},
        }
        answer = await running.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        assert answer.status_code == 200, answer.text
        return cls(running, answer.headers["mcp-session-id"], answer.json()["result"])

    async def post(self, message: dict[str, Any]) -> httpx.Response:
        return await self.running.post({"jsonrpc": "2.0", **message}, Mcp_Session_Id=self.session)

    async def ask(self, method: str, params: Any = None, *, ident: Any = 1) -> list[dict[str, Any]]:
        """Every message of the answer, the response last."""
        answer = await self.post({"id": ident, "method": method, "params": params or {}})
        assert answer.status_code == 200, answer.text
        return events(answer.text) if "event-stream" in answer.headers["content-type"] else [answer.json()]

    async def call(self, tool: str, *, ident: Any = 1, **arguments: Any) -> str:
        """The text of a tool's result."""
        response = (await self.ask("tools/call", {"name": tool, "arguments": arguments}, ident=ident))[-1]
        assert response["id"] == ident
        return str(response["result"]["content"][0]["text"])

    async def fails(self, tool: str, *, ident: Any = 1, **arguments: Any) -> dict[str, Any]:
        """The error of a tool's call."""
        response = (await self.ask("tools/call", {"name": tool, "arguments": arguments}, ident=ident))[-1]
        assert response["id"] == ident
        error: dict[str, Any] = response["error"]
        return error

    async def seen(self, method: str) -> list[dict[str, Any]]:
        """What a crude server was sent of this method."""
        return [message for message in json.loads(await self.call("seen")) if message.get("method") == method]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """The GET stream is open."""
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": self.session}
        opened = asyncio.Event()

        async def listen() -> None:
            async with (
                httpx.AsyncClient(timeout=PATIENCE_S) as http,
                http.stream("GET", self.running.url, headers=headers) as stream,
            ):
                assert stream.status_code == 200
                opened.set()
                async for line in stream.aiter_lines():
                    self.heard += events(line)

        task = asyncio.create_task(listen())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await opened.wait()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _answers(running: Running, task: asyncio.Task[None], status: int) -> bool:
    if task.done():
        task.result()
    try:
        return (await running.get("/readyz")).status_code == status
    except httpx.TransportError:
        return False
