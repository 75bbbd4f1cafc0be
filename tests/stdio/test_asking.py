"""The server asks: who is asked, and that the answer finds its way back."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from mcp import MCPError
from tests.gateway.asking import Person
from tests.gateway.world import Running, until
from tests.stdio.proxying import CRUDE, TALKING, Speaker, proxy

ASKS = {"name": "ask", "arguments": {"method": "sampling/createMessage", "params": {"maxTokens": 1}}}


async def test_an_official_client_is_asked_in_the_middle_of_its_call() -> None:
    person = Person()
    async with proxy(TALKING) as running, person.client(running.url, "legacy") as client:
        assert "accept blue" in str(await client.call_tool("elicit", {}))
        assert "sampled" in str(await client.call_tool("sample", {}))
        assert "file:///here" in str(await client.call_tool("roots", {}))
        assert person.asked == ["elicit", "sample", "roots"]
        person.refuses = True
        assert "decline" in str(await client.call_tool("elicit", {}))
        with pytest.raises(MCPError, match="the person said no"):
            await client.call_tool("sample", {})


async def test_two_people_are_asked_each_for_their_own_call() -> None:
    ada, bob = Person(), Person()
    async with (
        proxy(TALKING) as running,
        ada.client(running.url, "legacy") as one,
        bob.client(running.url, "legacy") as other,
    ):
        assert "accept" in str(await one.call_tool("elicit", {}))
        assert "accept" in str(await other.call_tool("elicit", {}))
        assert "sampled" in str(await one.call_tool("sample", {}))
        assert (ada.asked, bob.asked) == (["elicit", "sample"], ["elicit"])


async def test_the_caller_that_cannot_be_asked_is_not_replaced_by_another_client() -> None:
    async with proxy(CRUDE) as running:
        able = await Speaker.open(running, sampling={})
        async with able.listening():
            caller = await Speaker.open(running)
            answer = json.loads(await caller.call("ask", method="sampling/createMessage"))
            assert answer["code"] == -32601
            assert able.heard == []


async def test_of_several_callers_the_last_one_that_can_be_asked_is() -> None:
    async with proxy(CRUDE) as running:
        able = await Speaker.open(running, sampling={})
        unable = await Speaker.open(running, roots={})
        waiting = asyncio.create_task(unable.ask("tools/call", {"name": "silence"}))
        await until(lambda: under_way(running, 1))
        asked = asyncio.create_task(answering(able))
        assert json.loads(await asked) == {"answer": 42}
        waiting.cancel()


async def test_the_servers_ids_do_not_meet_those_of_clients_or_ours() -> None:
    async with proxy(CRUDE) as running:
        # The server asks under the id that the call has on its side, and both clients are asked at once.
        clients = [await Speaker.open(running, sampling={}) for _ in range(4)]
        answers = [json.loads(await answering(client, ident="same")) for client in clients]
        assert answers == [{"answer": 42}] * 4


async def test_a_question_that_nobody_can_answer_is_refused() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running, sampling={})
        assert json.loads(await client.call("ask", method="vendor/question"))["code"] == -32601
        assert json.loads(await client.call("ask", method="roots/list"))["code"] == -32601


async def test_the_servers_ping_is_answered_for_the_clients() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        # An empty result: the crude server shows it as no error.
        assert await client.call("ask", method="ping") == "null"


async def answering(client: Speaker, ident: Any = 5) -> str:
    """Make the server ask, answer on the stream of the call, and return what the server was told."""
    message = {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": ASKS}
    headers = {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": client.session}
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream("POST", client.running.url, json=message, headers=headers) as stream,
    ):
        async for line in stream.aiter_lines():
            if not line.startswith("data: {"):
                continue
            told = json.loads(line.removeprefix("data: "))
            if told.get("method") == "sampling/createMessage":
                assert told["params"] == {"maxTokens": 1}
                posted = await client.post({"id": told["id"], "result": {"answer": 42}})
                assert posted.status_code == 202
            else:
                assert told["id"] == ident
                return str(told["result"]["content"][0]["text"])
    raise AssertionError("the stream ended without a response")


async def under_way(running: Running, calls: int) -> bool:
    """So many calls have reached a crude server and wait there."""
    return f"vmcp_stdio_calls_under_way {calls}.0" in (await running.get("/metrics")).text
