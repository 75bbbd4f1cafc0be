"""A server of the official SDK, and a call of its tools."""

import json
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from tests.gateway.world import PATIENCE_S

from vmcp.mcp.backend import Backend, Message


def demo() -> MCPServer:
    server = MCPServer("demo", version="1.0.0")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    async def progress(ctx: Context) -> str:
        for step in (1, 2, 3):
            await ctx.report_progress(step, 3)
        return "done"

    @server.tool()
    async def change(ctx: Context) -> str:
        server.add_tool(lambda: "new", name="later")
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "changed"

    @server.resource("demo://ü")
    def greeting() -> str:
        return "grüezi"

    return server


class LegacyOnly:
    """Puts an SDK server back to the time before Modern, as `mcp` 1.x answers: requests of another era get 400."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version") == b"2026-07-28":
            refusal = b'"error":{"code":-32600,"message":"Bad Request: Missing session ID"}'
            body = b'{"jsonrpc":"2.0","id":"server-error",' + refusal + b"}"
            await send(
                {"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]}
            )
            await send({"type": "http.response.body", "body": body})
        else:
            await self.app(scope, receive, send)


async def call(backend: Backend, name: str, **arguments: Any) -> tuple[list[Message], dict[str, Any]]:
    params = {"name": name, "arguments": arguments, "_meta": {"progressToken": "p"}}
    exchange = await backend.request("tools/call", json.dumps(params).encode(), name=name, timeout=PATIENCE_S)
    before = [message async for message in exchange]
    reply = await exchange.response()
    assert reply.result is not None, reply.error
    return before, json.loads(reply.result)
