"""A small MCP server on the official SDK, over the transport that MCP_TRANSPORT names, on the port MCP_PORT.

streamable-http speaks both eras, or the Legacy era alone with MCP_ERA=legacy.
"""

import asyncio
import os
import socket

import uvicorn
from legacyonly import LegacyOnly  # type: ignore[import-not-found]  # beside this file in the image
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from starlette.types import ASGIApp

_HOST = "0.0.0.0"
_LAST_REQUESTS_SECONDS = 2


def create_server() -> MCPServer:
    """Tools that say which pod answered, and what the session of the caller holds."""
    server = MCPServer("e2e", version="1.0.0", instructions="Answers what it is told.")
    remembered: dict[str, str] = {}

    @server.tool()
    def echo(text: str) -> str:
        """Give the text back."""
        return text

    @server.tool()
    def whoami() -> str:
        """Name of the pod that answers."""
        return socket.gethostname()

    @server.tool()
    async def slow(seconds: float) -> str:
        """Answer after a while."""
        await asyncio.sleep(seconds)
        return f"waited {seconds:g} s"

    @server.tool()
    def header(ctx: Context, name: str) -> str:
        """A header of the request that carried this call."""
        return (ctx.headers or {}).get(name, "none")

    @server.tool()
    def remember(ctx: Context, text: str) -> str:
        """Keep a text for this session."""
        remembered[_session(ctx)] = text
        return "kept"

    @server.tool()
    def recall(ctx: Context) -> str:
        """What this session was told to keep."""
        return remembered.get(_session(ctx), "nothing")

    @server.resource("e2e://pod", mime_type="text/plain")
    def pod() -> str:
        """Name of the pod."""
        return socket.gethostname()

    @server.prompt()
    def greet(name: str) -> str:
        """Ask for a greeting."""
        return f"Greet {name}."

    return server


def _session(ctx: Context) -> str:
    return (ctx.headers or {}).get("mcp-session-id", "none")


def main() -> None:
    """Serve until SIGTERM."""
    server = create_server()
    transport = os.environ.get("MCP_TRANSPORT", "streamable-http")
    if transport == "stdio":
        server.run("stdio")
        return
    app: ASGIApp = server.sse_app(host=_HOST) if transport == "sse" else server.streamable_http_app(host=_HOST)
    if os.environ.get("MCP_ERA") == "legacy":
        app = LegacyOnly(app)
    port = int(os.environ.get("MCP_PORT", "8080"))
    # A gateway keeps a stream open for change notifications, which would hold up the end for good.
    uvicorn.run(app, host=_HOST, port=port, log_level="warning", timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS)


if __name__ == "__main__":
    main()
