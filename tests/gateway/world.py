"""What the gateway's tests run against: real MCP servers in threads of their own, and a gateway in the test's loop."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from vmcp.gateway.limits import Limits
from vmcp.gateway.server import serve
from vmcp.gateway.settings import ServeOptions
from vmcp_dev.ports import free_port as free_port

PATIENCE_S = 30.0


class Calls:
    """What a demo server saw."""

    def __init__(self) -> None:
        self.slow_started = threading.Event()
        self.slow_cancelled = threading.Event()
        self.slow_count = 0


def demo_server(name: str, calls: Calls | None = None) -> MCPServer:
    server = MCPServer(name, version="1.0.0")
    seen = calls or Calls()

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @server.tool()
    def whoami() -> str:
        return name

    @server.tool()
    def fail() -> str:
        raise ValueError("the tool's own failure")

    @server.tool()
    async def count(ctx: Context, to: int) -> str:  # type: ignore[type-arg]
        for step in range(to):
            await ctx.report_progress(step, to, f"step {step}")
            await asyncio.sleep(0.02)
        return "counted"

    @server.tool()
    async def slow(ctx: Context, seconds: float) -> str:  # type: ignore[type-arg]
        await ctx.report_progress(0, 1, "begun")
        seen.slow_count += 1
        seen.slow_started.set()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            seen.slow_cancelled.set()
            raise
        return "slept"

    @server.resource(f"demo://{name}/doc")
    def doc() -> str:
        return f"doc of {name}"

    @server.resource("demo://shared")
    def shared() -> str:
        return f"shared by {name}"

    @server.resource(f"demo://{name}/item/{{ident}}")
    def item(ident: str) -> str:
        return f"item {ident} of {name}"

    @server.prompt()
    def greet(who: str) -> str:
        return f"Hello {who} from {name}"

    return server


class LegacyOnly:
    """An application that knows no Modern: it refuses its header as the TypeScript SDK does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if headers.get(b"mcp-protocol-version", b"").startswith(b"2026"):
            body = (
                b'{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: Server not initialized"},"id":null}'
            )
            head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 400, "headers": head})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)


class BackendServer:
    """A server on one port that can be stopped and started again."""

    def __init__(self, app: Callable[[], Any]) -> None:
        self.port = free_port()
        self._app = app
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> None:
        config = uvicorn.Config(
            self._app(), host="127.0.0.1", port=self.port, log_level="critical", ws="none", timeout_graceful_shutdown=0
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until = time.monotonic() + PATIENCE_S
        while not self._server.started:
            assert self._thread.is_alive(), "the backend did not start"
            assert time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(PATIENCE_S)
            self._server = None


@contextlib.contextmanager
def backend(name: str, kind: str = "modern", calls: Calls | None = None) -> Iterator[BackendServer]:
    """A demo server: `modern` (speaks both eras), `legacy` (sessions, streams), `legacy-json` (stateless, JSON),
    `sse` (the older HTTP+SSE transport, at the same path).
    """

    def app() -> Any:
        server = demo_server(name, calls)
        match kind:
            case "modern":
                return server.streamable_http_app()
            case "legacy":
                return LegacyOnly(server.streamable_http_app())
            case "sse":
                return server.sse_app(sse_path="/mcp")
            case _:
                return LegacyOnly(server.streamable_http_app(stateless_http=True, json_response=True))

    running = BackendServer(app)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def hanging_backend() -> Iterator[str]:
    """Accepts connections and never answers; yields its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"


def entry(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "transport": "streamable-http"} | more


FAST = {
    "healthCheckInterval": "1s",
    "healthCheckTimeout": "900ms",
    "fastInterval": "200ms",
    "partialFailureMode": "best_effort",
    "circuitBreaker": {"enabled": True, "failureThreshold": 2, "timeout": "2s", "backoffMultiplier": 1},
}


def config(*backends: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "groupRef": "group",
        "incomingAuth": {"type": "anonymous"},
        "backends": list(backends),
        "operational": {"failureHandling": FAST},
        **more,
    }


class Running:
    """A gateway that serves."""

    def __init__(self, file: Path, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.url = f"{self.origin}/mcp"
        self.file = file

    def write(self, content: dict[str, Any]) -> None:
        """Replace the configuration, as an editor does."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(content))
        fresh.rename(self.file)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            return await http.get(self.origin + path)

    async def post(self, message: Any, **headers: str) -> httpx.Response:
        """One raw POST to /mcp; header names with `_` for `-`."""
        head = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        head |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            return await http.post(self.url, content=body, headers=head)


@contextlib.asynccontextmanager
async def gateway(
    folder: Path, content: dict[str, Any], *, limits: Limits | None = None, access_log: float = 0.0
) -> AsyncIterator[Running]:
    """A standalone gateway in the test's own loop."""
    port = free_port()
    running = Running(folder / "config.yaml", port)
    running.write(content)
    stopping = asyncio.Event()
    options = ServeOptions(running.file, port=port, limits=limits or Limits(), access_log=access_log)
    task = asyncio.create_task(serve(options, stopping=stopping))
    try:
        await until(lambda: _answers(running, task))
        yield running
    finally:
        stopping.set()
        async with asyncio.timeout(PATIENCE_S):
            await task


@contextlib.contextmanager
def gateway_thread(folder: Path, content: dict[str, Any], *, limits: Limits | None = None) -> Iterator[Running]:
    """A standalone gateway in a thread and loop of its own, for several tests."""
    entered: list[Running] = []
    ready, leave = threading.Event(), threading.Event()

    async def hold() -> None:
        async with gateway(folder, content, limits=limits) as running:
            entered.append(running)
            ready.set()
            await asyncio.to_thread(leave.wait)

    thread = threading.Thread(target=asyncio.run, args=(hold(),), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S), "the gateway did not start"
    try:
        yield entered[0]
    finally:
        leave.set()
        thread.join(PATIENCE_S)


async def _answers(running: Running, task: asyncio.Task[None]) -> bool:
    if task.done():
        task.result()
    try:
        return (await running.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def until(condition: Callable[[], Any]) -> Any:
    """Wait until the condition (a function, or one that returns an awaitable) holds; its value."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.02)
