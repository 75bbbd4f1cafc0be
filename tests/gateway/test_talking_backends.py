"""Backends that ask, fall silent or talk nonsense in the middle of things: it ends with their own call."""

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker, events
from tests.gateway.world import PATIENCE_S, BackendServer, config, entry, gateway, until

Call = Callable[["Talking", Any, Any, Any], Awaitable[None]]

STREAM = [(b"content-type", b"text/event-stream")]
ASKED = {"method": "roots/list"}
QUIET = {"failureHandling": {"healthCheckInterval": "1h"}}


class Talking(Scripted):
    """A Legacy server: its tool is played by `call`, and what it says outside of calls by `outside`."""

    def __init__(self, call: Call, outside: list[bytes] | None = None) -> None:
        super().__init__({}, modern=False)
        self.call = call
        self.outside = outside
        self.answered: list[Any] = []
        self.refuses_answers = False
        self.heard, self.left = threading.Event(), threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and self.outside is not None:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM})
            told = 0
            while True:
                news = b"".join(self.outside[told:])
                told = len(self.outside)
                await send({"type": "http.response.body", "body": news or b": \n\n", "more_body": True})
                await asyncio.sleep(0.02)
        await super().__call__(scope, receive, send)

    async def client_has_heard(self) -> None:
        await asyncio.to_thread(self.heard.wait, PATIENCE_S)

    async def _answer(self, request: dict[str, Any], receive: Any, send: Any) -> None:
        if "method" not in request:
            self.answered.append(request)
            await self._send(send, 500 if self.refuses_answers else 202, b"")
        elif request["method"] == "tools/call":
            await send({"type": "http.response.start", "status": 200, "headers": STREAM})
            await self.call(self, request["id"], receive, send)
        else:
            await super()._answer(request, receive, send)


async def say(send: Any, message: Any, *, more: bool = True) -> None:
    body = b"data: " + json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def gone(receive: Any) -> None:
    """Returns when the gateway has dropped the call."""
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.contextmanager
def talking(call: Call, outside: list[bytes] | None = None) -> Iterator[tuple[Talking, str]]:
    app = Talking(call, outside)
    server = BackendServer(lambda: app)
    server.start()
    try:
        yield app, server.url
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def asked_client(folder: Path, url: str, call_s: int = 30) -> AsyncIterator[LegacySpeaker]:
    """A Legacy client that can be asked for its roots."""
    operational = {**QUIET, "timeouts": {"default": f"{call_s}s"}}
    async with gateway(folder, config(entry("t", url), operational=operational)) as running:
        client = await LegacySpeaker.open(running, capabilities={"roots": {}})

        async def listed() -> bool:
            return "t_echo" in (await client.ask("tools/list")).text

        await until(listed)
        yield client


async def called(client: LegacySpeaker, app: Talking) -> str:
    """The stream of a call, whose backend is told as soon as the client has its question."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t_echo"}}
    headers = {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": client.session}
    text = ""
    async with (
        asyncio.timeout(60),
        httpx.AsyncClient(timeout=60) as http,
        http.stream("POST", client.running.url, json=message, headers=headers) as response,
    ):
        async for chunk in response.aiter_text():
            text += chunk
            if "roots/list" in text:
                app.heard.set()
    return text


async def test_a_backend_that_does_not_wait_for_the_answer_to_its_question_is_a_backend_that_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def call(app: Talking, ident: Any, receive: Any, send: Any) -> None:
        await say(send, {"id": "q", **ASKED})
        await app.client_has_heard()
        await say(send, {"id": ident, "result": {"content": []}}, more=False)

    with talking(call) as (app, url):
        async with asked_client(tmp_path, url) as client:
            text = await called(client, app)
            question, withdrawn, response = events(text)
            assert (question["method"], response["result"]) == ("roots/list", {"content": []})
            assert withdrawn["method"] == "notifications/cancelled"
            assert withdrawn["params"]["requestId"] == question["id"]
            # What the stream carried can still be asked for.
            first = text.partition("id: ")[2].partition("\n")[0]
            assert await client.resumed(first) == [question, withdrawn, response]
    ours = [record for record in caplog.records if record.name.startswith("vmcp")]
    assert [record for record in ours if record.levelno >= logging.ERROR] == []


async def test_a_backend_that_withdraws_its_question_and_falls_silent_has_no_more_time_than_any(
    tmp_path: Path,
) -> None:
    async def call(app: Talking, ident: Any, receive: Any, send: Any) -> None:
        await say(send, {"id": "q", **ASKED})
        await app.client_has_heard()
        await say(send, {"method": "notifications/cancelled", "params": {"requestId": "q"}})
        await gone(receive)

    with talking(call) as (app, url):
        async with asked_client(tmp_path, url, call_s=1) as client:
            question, withdrawn, response = events(await called(client, app))
            assert (question["method"], withdrawn["method"]) == ("roots/list", "notifications/cancelled")
            assert response["error"]["data"]["category"] == "timeout"
            assert app.answered == []


async def test_a_held_call_whose_backend_takes_no_answer_is_given_up(tmp_path: Path) -> None:
    async def call(app: Talking, ident: Any, receive: Any, send: Any) -> None:
        app.refuses_answers = True
        await say(send, {"id": "q", **ASKED})
        await gone(receive)
        app.left.set()

    with talking(call) as (app, url):
        async with gateway(tmp_path, config(entry("t", url), operational=QUIET)) as running:
            client = ModernSpeaker(running)

            async def listed() -> bool:
                return "t_echo" in (await client.ask("tools/list")).text

            await until(listed)
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
            }
            asked = (await client.ask("tools/call", {"name": "t_echo"}, meta=meta)).json()["result"]
            answers = {key: {"roots": []} for key in asked["inputRequests"]}
            again = {"name": "t_echo", "requestState": asked["requestState"], "inputResponses": answers}
            answer = await client.ask("tools/call", again, meta=meta)
            assert answer.json()["error"]["code"] in (-32603, -32003)
            await until(app.left.is_set)


async def test_a_message_that_only_speaks_of_a_subscription_is_heard_as_any_other(tmp_path: Path) -> None:
    async def call(app: Talking, ident: Any, receive: Any, send: Any) -> None:
        await say(send, {"id": ident, "result": {"content": []}}, more=False)

    outside: list[bytes] = []
    with talking(call, outside) as (_, url):
        async with asked_client(tmp_path, url) as client:
            await client.ask("tools/call", {"name": "t_echo"})
            for params in ({"data": "io.modelcontextprotocol/subscriptionId"}, {"data": "later"}):
                message = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", **params}}
                outside.append(b"data: " + json.dumps(message).encode() + b"\n\n")
            heard = ""
            async with asyncio.timeout(30), client.listening() as lines:
                async for line in lines:
                    heard += line
                    if "later" in heard:
                        break
            assert "subscriptionId" in heard


async def test_a_server_that_knows_no_session_of_its_own_is_not_asked_for_ever_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmcp.gateway.links.FIRST_RETRY_S", 0.01)

    class Forgetful(Talking):
        async def _send(self, send: Any, status: int, body: bytes) -> None:
            head = [(b"content-type", b"application/json"), (b"mcp-session-id", b"s")]
            await send({"type": "http.response.start", "status": 404 if status == 405 else status, "headers": head})
            await send({"type": "http.response.body", "body": body})

    async def call(app: Talking, ident: Any, receive: Any, send: Any) -> None:
        await say(send, {"id": ident, "result": {"content": []}}, more=False)

    app = Forgetful(call)
    server = BackendServer(lambda: app)
    server.start()
    try:
        async with asked_client(tmp_path, server.url) as client:

            def opened() -> int:
                # The gateway's own sessions can be asked nothing.
                return sum("roots" in request.get("params", {}).get("capabilities", {}) for request in app.requests)

            await client.ask("tools/call", {"name": "t_echo"})
            await until(lambda: opened() > 3)
            await asyncio.sleep(1)
            assert opened() < 12
    finally:
        server.stop()
