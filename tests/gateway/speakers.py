"""Two minimal clients on raw HTTP, for what the SDK's client would not send or hides."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from tests.gateway.world import Running

MODERN = "2026-07-28"


class LegacySpeaker:
    """A Legacy client with a session."""

    def __init__(self, running: Running, session: str) -> None:
        self.running = running
        self.session = session

    @classmethod
    async def open(
        cls, running: Running, version: str = "2025-11-25", capabilities: dict[str, Any] | None = None
    ) -> "LegacySpeaker":
        offered = {"protocolVersion": version, "capabilities": capabilities or {}}
        params = {**offered, "clientInfo": {"name": "t", "version": "0"}}
        answer = await running.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        return cls(running, answer.headers["mcp-session-id"])

    async def send(self, message: Any, **headers: str) -> httpx.Response:
        return await self.running.post(message, Mcp_Session_Id=self.session, **headers)

    async def ask(self, method: str, params: Any = None, ident: Any = 1, **headers: str) -> httpx.Response:
        message = {"jsonrpc": "2.0", "id": ident, "method": method}
        return await self.send(message if params is None else {**message, "params": params}, **headers)

    async def interrupted(self, tool: str, arguments: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
        """Call a tool and lose the connection after a few events: the messages so far, and the id of the last event."""
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}
        message = {"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": params}
        headers = {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": self.session}
        seen: list[dict[str, Any]] = []
        last = ""
        async with (
            httpx.AsyncClient(timeout=20) as http,
            http.stream("POST", self.running.url, json=message, headers=headers) as response,
        ):
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    last = line[4:]
                elif line.startswith("data: {"):
                    seen.append(json.loads(line[6:]))
                    if len(seen) == 3:
                        break
        return seen, last

    async def stream(self, last_event_id: str) -> httpx.Response:
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": self.session, "Last-Event-ID": last_event_id}
        # A stream that should have ended would go on for ever.
        async with asyncio.timeout(30), httpx.AsyncClient(timeout=20) as http:
            return await http.get(self.running.url, headers=headers)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of the GET stream."""
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": self.session}
        async with (
            httpx.AsyncClient(timeout=30) as http,
            http.stream("GET", self.running.url, headers=headers) as response,
        ):
            yield response.aiter_lines()

    async def resumed(self, last_event_id: str) -> list[dict[str, Any]]:
        """What came after that event, up to the end of its stream."""
        return events((await self.stream(last_event_id)).text)


class ModernSpeaker:
    """A Modern client."""

    def __init__(self, running: Running) -> None:
        self.running = running

    async def ask(
        self, method: str, params: dict[str, Any] | None = None, *, meta: Any = None, **headers: str
    ) -> httpx.Response:
        envelope = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = {"_meta": envelope if meta is None else meta, **(params or {})}
        named = body.get("uri") if method == "resources/read" else body.get("name")
        head = {"MCP_Protocol_Version": MODERN, "Mcp_Method": method}
        if named is not None:
            head["Mcp_Name"] = named
        head |= headers
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": body}
        return await self.running.post(message, **{name: value for name, value in head.items() if value})


def events(text: str) -> list[dict[str, Any]]:
    """The messages of an event stream."""
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
