"""A server that asks its clients back, tells of resources and logs; and the official client that answers it."""

import contextlib
import json
from collections.abc import Iterator
from typing import Annotated, Any

from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.server import MCPServer, ServerRequestContext
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, ListRoots, Resolve, Sample
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    EmptyResult,
    ErrorData,
    ListRootsResult,
    LoggingMessageNotificationParams,
    Root,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel
from tests.gateway.world import BackendServer, LegacyOnly

URI = "asking://doc"


class Word(BaseModel):
    word: str


class Seen:
    """What the server saw of its clients."""

    def __init__(self) -> None:
        self.subscribed: list[str] = []
        self.levels: list[str] = []
        self.methods: list[str] = []
        self.opened: list[dict[str, Any]] = []
        """Capabilities of each client that initialized."""
        self.deleted = 0
        self.streams = 0


def _ask_word() -> Elicit[Word]:
    return Elicit("Which word?", Word)


def _ask_model() -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(type="text", text="say"))], max_tokens=9)


def _ask_roots() -> ListRoots:
    return ListRoots()


def asking_server(seen: Seen) -> MCPServer:
    server = MCPServer("asking", version="1.0.0")

    @server.tool()
    def elicit(answer: Annotated[ElicitationResult[Word], Resolve(_ask_word)]) -> str:
        return f"{answer.action} {answer.data.word}" if answer.action == "accept" else answer.action

    @server.tool()
    def sample(answer: Annotated[CreateMessageResult, Resolve(_ask_model)]) -> str:
        assert isinstance(answer.content, TextContent)
        return answer.content.text

    @server.tool()
    def roots(answer: Annotated[ListRootsResult, Resolve(_ask_roots)]) -> str:
        return " ".join(str(root.uri) for root in answer.roots)

    @server.tool()
    def all_three(
        word: Annotated[ElicitationResult[Word], Resolve(_ask_word)],
        said: Annotated[CreateMessageResult, Resolve(_ask_model)],
        roots: Annotated[ListRootsResult, Resolve(_ask_roots)],
    ) -> str:
        return f"{word.action} {len(roots.roots)}"

    @server.tool()
    async def ask_outside(ctx: Context) -> str:  # type: ignore[type-arg]
        # Without a related request it goes to the GET stream of the session.
        found = await ctx.session.list_roots()
        return str(len(found.roots))

    @server.tool()
    async def touch(ctx: Context) -> str:  # type: ignore[type-arg]
        await ctx.notify_resource_updated(URI)
        if ctx.request_context.protocol_version < "2026":
            await ctx.session.send_resource_updated(URI)
        return "touched"

    @server.tool()
    async def say(ctx: Context) -> str:  # type: ignore[type-arg]
        for level in ("debug", "warning", "error"):
            await ctx.log(level, f"{level} said")  # type: ignore[arg-type]
        return "said"

    @server.resource(URI)
    def doc() -> str:
        return "content"

    async def subscribe(ctx: ServerRequestContext, params: SubscribeRequestParams) -> EmptyResult:  # type: ignore[type-arg]
        seen.subscribed.append(str(params.uri))
        return EmptyResult()

    async def unsubscribe(ctx: ServerRequestContext, params: UnsubscribeRequestParams) -> EmptyResult:  # type: ignore[type-arg]
        seen.subscribed.remove(str(params.uri))
        return EmptyResult()

    async def set_level(ctx: ServerRequestContext, params: SetLevelRequestParams) -> EmptyResult:  # type: ignore[type-arg]
        seen.levels.append(params.level)
        return EmptyResult()

    server._lowlevel_server.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    server._lowlevel_server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
    server._lowlevel_server.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
    return server


class ModernOnly:
    """An application that knows no Legacy."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", []))
        if scope["type"] == "http" and headers.get(b"mcp-protocol-version") != b"2026-07-28":
            data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
            error = {"code": -32022, "message": "Unsupported protocol version", "data": data}
            body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
            head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 400, "headers": head})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)


class Counting:
    """An application that notes the methods asked of it."""

    def __init__(self, app: Any, seen: Seen) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._seen.deleted += scope.get("method") == "DELETE"

        async def noted() -> Any:
            message = await receive()
            if message.get("body"):
                with contextlib.suppress(ValueError):
                    body = json.loads(message["body"])
                    self._seen.methods.append(body.get("method", "response"))
                    if body.get("method") == "initialize":
                        self._seen.opened.append(body["params"]["capabilities"])
            return message

        streams = scope.get("method") == "GET"
        self._seen.streams += streams
        try:
            await self._app(scope, noted if scope["type"] == "http" else receive, send)
        finally:
            self._seen.streams -= streams


@contextlib.contextmanager
def asking_backend(kind: str, seen: Seen | None = None) -> Iterator[BackendServer]:
    """`legacy` (knows no Modern), `modern` (knows no Legacy), `both`."""
    noted = seen or Seen()

    def app() -> Any:
        served = Counting(asking_server(noted).streamable_http_app(), noted)
        return {"legacy": LegacyOnly, "modern": ModernOnly, "both": lambda app: app}[kind](served)

    running = BackendServer(app)
    running.start()
    try:
        yield running
    finally:
        running.stop()


class Person:
    """Who answers, and what the client heard."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.logged: list[str] = []
        self.heard: list[Any] = []
        self.refuses = False

    async def elicit(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
        self.asked.append("elicit")
        return (
            ElicitResult(action="decline") if self.refuses else ElicitResult(action="accept", content={"word": "blue"})
        )

    async def sample(
        self, context: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult | ErrorData:
        self.asked.append("sample")
        if self.refuses:
            return ErrorData(code=-1, message="the person said no")
        return CreateMessageResult(role="assistant", model="m", content=TextContent(type="text", text="sampled"))

    async def roots(self, context: ClientRequestContext) -> ListRootsResult | ErrorData:
        self.asked.append("roots")
        return ListRootsResult(roots=[Root(uri="file:///here")])  # type: ignore[arg-type]

    async def log(self, params: LoggingMessageNotificationParams) -> None:
        self.logged.append(params.level)

    async def hear(self, message: Any) -> None:
        self.heard.append(message)

    def client(self, url: str, mode: str, **more: Any) -> Client:
        """A client that can be asked everything."""
        return Client(
            url,
            mode=mode,
            cache=None,
            read_timeout_seconds=20,
            elicitation_callback=self.elicit,
            sampling_callback=self.sample,
            list_roots_callback=self.roots,
            logging_callback=self.log,
            message_handler=self.hear,
            **more,
        )
