"""An MCP server of one era that says what it is told, in a process that starts in an instant.

`echoserver.py PORT legacy|modern FILE`: the token of each call is written to the file before anything is answered.
Arguments of `echo`: `token`; `seconds` to wait; `progress` to be told of first; `fail` = an error instead of a result.
"""

import asyncio
import json
import os
import sys
import uuid
from typing import Any

TOOL = {"name": "echo", "inputSchema": {"type": "object"}}
TOOL_ERROR = -31999


class Server:
    def __init__(self, *, modern: bool, told: int) -> None:
        self._modern = modern
        self._told = told
        self._sessions: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                await self._answer(headers, json.loads(body) if body else {}, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, headers: dict[str, str], message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        method, ident = message.get("method", ""), message.get("id")
        if not message:
            writer.write(_whole("405 Method Not Allowed", None))
        elif self._modern != (headers.get("mcp-protocol-version") == "2026-07-28"):
            writer.write(_whole("400 Bad Request", _error(None, -32022, "unsupported version")))
        elif method == "initialize":
            session = uuid.uuid4().hex
            self._sessions.add(session)
            info = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
            result = {**info, "serverInfo": {"name": "echo", "version": "1"}}
            writer.write(_whole("200 OK", _result(ident, result), f"mcp-session-id: {session}"))
        elif not self._modern and headers.get("mcp-session-id") not in self._sessions:
            writer.write(_whole("404 Not Found", _error(None, -32600, "Session not found")))
        elif ident is None:
            writer.write(_whole("202 Accepted", None))
        elif method == "tools/call":
            await self._call(ident, message["params"]["arguments"], writer)
        else:
            writer.write(_whole("200 OK", self._plain(method, ident)))

    async def _call(self, ident: Any, arguments: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        token = arguments["token"]
        os.write(self._told, token.encode() + b"\n")
        progress = arguments.get("progress")
        if progress is not None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            params = {"progressToken": progress, "progress": 1, "message": token}
            writer.write(_event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
        if arguments.get("seconds"):
            await asyncio.sleep(arguments["seconds"])
        if arguments.get("fail"):
            answer = _error(ident, TOOL_ERROR, token)
        else:
            answer = _result(ident, self._complete({"content": [{"type": "text", "text": token}]}))
        writer.write(_whole("200 OK", answer) if progress is None else _event(answer) + b"0\r\n\r\n")

    def _plain(self, method: str, ident: Any) -> dict[str, Any]:
        if method == "tools/list":
            return _result(ident, self._complete({"tools": [TOOL]}, ttlMs=0, cacheScope="private"))
        if method == "server/discover" and self._modern:
            found = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            return _result(ident, self._complete(found, ttlMs=0, cacheScope="private"))
        if method == "ping" and not self._modern:
            return _result(ident, {})
        return _error(ident, -32601, "method not found")

    def _complete(self, result: dict[str, Any], **cached: Any) -> dict[str, Any]:
        return {**result, "resultType": "complete", **cached} if self._modern else result


def _result(ident: Any, result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": ident, "result": result}


def _error(ident: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": message}}


def _whole(status: str, message: dict[str, Any] | None, *headers: str) -> bytes:
    body = b"" if message is None else json.dumps(message).encode()
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _event(message: dict[str, Any]) -> bytes:
    text = b"data: " + json.dumps(message).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(text), text)


async def main(port: int, era: str, path: str) -> None:
    told = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    server = Server(modern=era == "modern", told=told)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port, backlog=512)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
