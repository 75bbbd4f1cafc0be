"""The server tells: progress to its caller, the rest to whom it concerns."""

import asyncio

import httpx
from tests.gateway.world import Running, until
from tests.stdio.proxying import CRUDE, Speaker, proxy


async def test_changes_of_lists_reach_every_open_stream() -> None:
    async with proxy(CRUDE) as running:
        one, other = await Speaker.open(running), await Speaker.open(running)
        async with one.listening(), other.listening():
            await one.call("tell", method="notifications/tools/list_changed", params={})
            await until(lambda: one.heard and other.heard)
        assert one.heard[0]["method"] == other.heard[0]["method"] == "notifications/tools/list_changed"


async def test_what_changed_while_no_stream_was_open_is_told_on_the_next_one() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        for _ in range(3):
            await client.call("tell", method="notifications/prompts/list_changed", params={})
        async with client.listening():
            await until(lambda: client.heard)
        assert [each["method"] for each in client.heard] == ["notifications/prompts/list_changed"]


async def test_updates_of_resources_reach_those_who_subscribed() -> None:
    async with proxy(CRUDE) as running:
        one, two, other = [await Speaker.open(running) for _ in range(3)]
        for client in (one, two):
            await client.ask("resources/subscribe", {"uri": "a://b"})
        # The server keeps one subscription for its one session.
        assert len(await one.seen("resources/subscribe")) == 1
        async with one.listening(), other.listening():
            await other.call("tell", method="notifications/resources/updated", params={"uri": "a://b"})
            await until(lambda: one.heard)
            assert other.heard == []
        await one.ask("resources/unsubscribe", {"uri": "a://b"})
        assert await other.seen("resources/unsubscribe") == []
        await two.ask("resources/unsubscribe", {"uri": "a://b"})
        assert len(await other.seen("resources/unsubscribe")) == 1


async def test_a_client_that_leaves_takes_its_subscriptions_along() -> None:
    async with proxy(CRUDE) as running:
        one, other = await Speaker.open(running), await Speaker.open(running)
        await one.ask("resources/subscribe", {"uri": "a://b"})
        await end(one)
        await until(lambda: other.seen("resources/unsubscribe"))
        await other.ask("resources/subscribe", {"uri": "a://b"})
        assert len(await other.seen("resources/subscribe")) == 2


async def test_logs_go_to_the_caller_and_to_all_when_nobody_calls() -> None:
    async with proxy(CRUDE) as running:
        caller, other = await Speaker.open(running), await Speaker.open(running)
        params = {"level": "error", "data": "of the call"}
        arguments = {"method": "notifications/message", "params": params}
        told, response = await caller.ask("tools/call", {"name": "tell", "arguments": arguments})
        assert told["params"] == params
        assert response["result"]
        async with caller.listening(), other.listening():
            await caller.call("after", method="notifications/message", params={"level": "error", "data": "of nobody"})
            await until(lambda: caller.heard and other.heard)
        assert [each["params"]["data"] for each in other.heard] == ["of nobody"]


async def test_each_client_sees_logs_from_its_own_level_on() -> None:
    async with proxy(CRUDE) as running:
        talkative, quiet = await Speaker.open(running), await Speaker.open(running)
        await quiet.ask("logging/setLevel", {"level": "error"})
        await talkative.ask("logging/setLevel", {"level": "debug"})
        await quiet.ask("logging/setLevel", {"level": "critical"})
        sent = [each["params"]["level"] for each in await quiet.seen("logging/setLevel")]
        assert sent == ["error", "debug", "debug"]
        async with talkative.listening(), quiet.listening():
            for level in ("info", "critical"):
                await quiet.call("after", method="notifications/message", params={"level": level, "data": level})
            await until(lambda: quiet.heard and len(talkative.heard) == 2)
        assert [each["params"]["level"] for each in quiet.heard] == ["critical"]
        assert [each["params"]["level"] for each in talkative.heard] == ["info", "critical"]
        assert (await quiet.ask("logging/setLevel", {"level": "loud"}))[-1]["error"]["code"] == -32602


async def test_a_level_that_is_set_by_a_batch_whose_session_has_ended_is_no_fault() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running, version="2025-03-26")
        batch = [
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "silence"}},
            {"jsonrpc": "2.0", "id": 2, "method": "logging/setLevel", "params": {"level": "error"}},
        ]
        posted = asyncio.create_task(running.post(batch, Mcp_Session_Id=client.session))
        await until(lambda: under_way(running, 1))
        await end(client)
        first, second = (await posted).json()
        assert first["error"]["code"] == -32800
        assert second["result"] == {"method": "logging/setLevel"}


async def test_a_client_that_reads_nothing_costs_a_bounded_queue() -> None:
    async with proxy(CRUDE) as running:
        idle, other = await Speaker.open(running), await Speaker.open(running)
        async with other.listening():
            await other.call("flood", times=2000)
            await until(lambda: other.heard and other.heard[-1].get("params") == {"level": "info", "data": 1999})
        async with idle.listening():
            await until(lambda: len(idle.heard) >= 256)
        assert [each["params"]["data"] for each in idle.heard] == list(range(2000 - 256, 2000))


async def under_way(running: Running, calls: int) -> bool:
    return f"vmcp_stdio_calls_under_way {calls}.0" in (await running.get("/metrics")).text


async def end(client: Speaker) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.request("DELETE", client.running.url, headers={"Mcp-Session-Id": client.session})
        assert answer.status_code == 200
