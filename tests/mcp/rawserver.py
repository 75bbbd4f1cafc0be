"""A server of bytes: reads whole requests, and a script of the test answers them as no framework would."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Seen:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Counted from 0."""

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body else {}


Script = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    script: Script
    port: int = 0
    connections: int = 0
    ended: int = 0
    """Of the connections, those that either side has closed."""
    requests: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def methods(self) -> list[str]:
        return [seen.message.get("method", seen.method) for seen in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                seen = Seen(*first.split(" ")[:2], headers, body, number)
                self.requests.append(seen)
                await self.script(seen, writer)
                await writer.drain()
        self.ended += 1
        writer.close()


@asynccontextmanager
async def raw_server(script: Script, *, port: int = 0) -> AsyncIterator[RawServer]:
    server = RawServer(script)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await server.serve(reader, writer)

    listening = await asyncio.start_server(connected, "127.0.0.1", port)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(status: str, body: bytes = b"", *headers: str, kind: str = "application/json") -> bytes:
    """An HTTP answer with Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


def result(seen: Seen, value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": seen.message.get("id"), "result": value}).encode()


def error(seen: Seen, code: int, message: str = "no", ident: Any = ...) -> bytes:
    ident = seen.message.get("id") if ident is ... else ident
    return json.dumps({"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": message}}).encode()


INITIALIZED = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "raw", "version": "1"}}
DISCOVERED = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"}


class LegacyServer:
    """A script that behaves like the Legacy servers of the field, TypeScript or Python ones."""

    def __init__(self, *, typescript: bool = False, stateless: bool = False) -> None:
        self.typescript = typescript
        self.stateless = stateless
        self.sessions: set[str] = set()
        self.count = 0

    async def __call__(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        method = seen.message.get("method", "")
        session = seen.headers.get("mcp-session-id", "")
        if method == "initialize":
            self.count += 1
            ident = f"session-{self.count}"
            self.sessions.add(ident)
            issued = () if self.stateless else (f"mcp-session-id: {ident}",)
            writer.write(answer("200 OK", result(seen, INITIALIZED), *issued))
        elif seen.method == "DELETE":
            self.sessions.discard(session)
            writer.write(answer("200 OK"))
        elif not self.stateless and session not in self.sessions:
            writer.write(self.refusal(seen, session))
        elif self.stateless and seen.headers.get("mcp-protocol-version") == "2026-07-28":
            writer.write(answer("400 Bad Request", error(seen, -32600, "Unsupported protocol version", "server-error")))
        elif "id" not in seen.message:
            writer.write(answer("202 Accepted"))
        elif method in ("ping", "tools/list"):
            writer.write(answer("200 OK", result(seen, {} if method == "ping" else {"tools": []})))
        else:
            writer.write(answer("200 OK", error(seen, -32601)))

    def refusal(self, seen: Seen, session: str) -> bytes:
        throw_away = "mcp-session-id: throw-away"
        if self.typescript:
            text = "Bad Request: No valid session ID provided" if session else "Bad Request: Server not initialized"
            return answer("400 Bad Request", error(seen, -32000, text, None), throw_away)
        if session:
            return answer("404 Not Found", error(seen, -32600, "Session not found", "server-error"), throw_away)
        return answer("400 Bad Request", error(seen, -32600, "Bad Request: Missing session ID", None), throw_away)


async def modern(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """A script that speaks nothing but Modern."""
    if seen.headers.get("mcp-protocol-version") != "2026-07-28":
        writer.write(answer("400 Bad Request", error(seen, -32022, "unsupported version", None)))
    elif seen.message.get("method") == "server/discover":
        writer.write(answer("200 OK", result(seen, DISCOVERED)))
    else:
        writer.write(answer("404 Not Found", error(seen, -32601)))
