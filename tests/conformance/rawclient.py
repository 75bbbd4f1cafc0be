"""A Legacy client on raw HTTP that keeps every message as it came, so that two servers can be compared."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

Message = dict[str, Any]

TIMEOUT_S = 60.0
ANSWERS: dict[str, Message] = {
    "sampling/createMessage": {
        "role": "assistant",
        "model": "test-model",
        "content": {"type": "text", "text": "sampled"},
        "stopReason": "endTurn",
    },
    "elicitation/create": {"action": "accept", "content": {"name": "Ada", "interpretation": "technical"}},
    "roots/list": {"roots": [{"uri": "file:///one", "name": "One"}]},
    "ping": {},
}
CAPABILITIES: Message = {
    "roots": {"listChanged": True},
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
}


@dataclass
class Outcome:
    """What one request brought."""

    response: Message
    before: list[Message] = field(default_factory=list)

    @property
    def result(self) -> Any:
        assert "result" in self.response, self.response
        return self.response["result"]

    @property
    def asked(self) -> list[tuple[str, Any]]:
        """Requests of the server, without their ids."""
        return [(each["method"], each.get("params")) for each in self.before if "id" in each]

    @property
    def told(self) -> list[tuple[str, Any]]:
        return [(each["method"], each.get("params")) for each in self.before if "id" not in each]


class RawClient:
    """An async context manager; the session is open, and its GET stream, while it is entered.

    Attributes:
        prefix: of the names that the server gives to tools and prompts.
        outside: what came on the GET stream.
    """

    def __init__(self, url: str, *, prefix: str = "", capabilities: Message | None = None) -> None:
        self.prefix = prefix
        self.outside: list[Message] = []
        self._url = url
        self._capabilities = CAPABILITIES if capabilities is None else capabilities
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S)
        self._headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        self._ids = iter(range(1, 1_000_000))
        self._listening: asyncio.Task[None] | None = None
        self._open = asyncio.Event()

    async def __aenter__(self) -> Self:
        offer = {
            "protocolVersion": "2025-11-25",
            "capabilities": self._capabilities,
            "clientInfo": {"name": "raw", "version": "1"},
        }
        opened = await self._http.post(
            self._url, headers=self._headers, json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": offer}
        )
        self._headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
        self._headers["MCP-Protocol-Version"] = "2025-11-25"
        await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self._listening = asyncio.create_task(self._listen())
        async with asyncio.timeout(TIMEOUT_S):
            await self._open.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listening is not None
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        await self._http.delete(self._url, headers=self._headers)
        await self._http.aclose()

    def public(self, name: str) -> str:
        return self.prefix + name

    async def post(self, message: Message) -> httpx.Response:
        return await self._http.post(self._url, headers=self._headers, json=message)

    async def ask(self, method: str, params: Message | None = None) -> Outcome:
        request: Message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params or {}}
        before: list[Message] = []
        async with asyncio.timeout(TIMEOUT_S):
            async for message in self._messages("POST", request):
                if message.get("id") == request["id"] and "method" not in message:
                    return Outcome(message, before)
                before.append(message)
                await self._answer(message)
        raise AssertionError(f"{method}: the stream ended without a response, after {before}")

    async def call(self, tool: str, arguments: Message | None = None, **more: Any) -> Outcome:
        return await self.ask("tools/call", {"name": self.public(tool), "arguments": arguments or {}, **more})

    async def interrupted(self, tool: str, arguments: Message) -> Outcome:
        """Call, lose the connection after the first message, and go on by Last-Event-ID."""
        ident = next(self._ids)
        params = {"name": self.public(tool), "arguments": arguments, "_meta": {"progressToken": ident}}
        request = {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}
        before: list[Message] = []
        last = ""
        async with asyncio.timeout(TIMEOUT_S):
            async for event, message in self._events("POST", request):
                last = event or last
                if message is not None:
                    before.append(message)
                    break
            async for _, message in self._events("GET", None, last):
                if message is not None and message.get("id") == ident:
                    return Outcome(message, before)
                if message is not None:
                    before.append(message)
        raise AssertionError("the resumed stream ended without a response")

    async def heard(self, method: str) -> Message:
        """The first message of this method on the GET stream."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                for message in self.outside:
                    if message.get("method") == method:
                        return message
                await asyncio.sleep(0.05)

    async def _listen(self) -> None:
        async for message in self._messages("GET", None):
            self.outside.append(message)
            await self._answer(message)

    async def _answer(self, message: Message) -> None:
        if "id" in message and "method" in message:
            await self.post({"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS[message["method"]]})

    async def _messages(self, verb: str, request: Message | None) -> AsyncIterator[Message]:
        async for _, message in self._events(verb, request):
            if message is not None:
                yield message

    async def _events(
        self, verb: str, request: Message | None, last: str = ""
    ) -> AsyncIterator[tuple[str, Message | None]]:
        headers = self._headers | ({"Last-Event-ID": last} if last else {})
        if verb == "GET":
            headers["Accept"] = "text/event-stream"
        async with self._http.stream(verb, self._url, headers=headers, json=request) as response:
            if verb == "GET":
                assert response.status_code == 200, response.status_code
                self._open.set()
            if response.headers.get("content-type", "").startswith("application/json"):
                yield "", json.loads(await response.aread())
                return
            event, data = "", ""
            async for line in _lines(response):
                if line.startswith("id:"):
                    event = line[3:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif not line:
                    if event or data:
                        yield event, json.loads(data) if data else None
                    event, data = "", ""


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    # httpx's own lines end at every separator of Unicode, those of an event stream at CR and LF only.
    rest = ""
    async for text in response.aiter_text():
        *lines, rest = (rest + text).replace("\r\n", "\n").split("\n")
        for line in lines:
            yield line
