"""A backend that is slow, hung or dead costs nobody but its own callers."""

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import httpx
import pytest
from mcp import Client, MCPError
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import Calls, backend, config, entry, free_port, gateway, hanging_backend, until

SLOW_CHECKS = {"operational": {"failureHandling": {"healthCheckInterval": "1h", "partialFailureMode": "best_effort"}}}


async def test_a_hung_backend_delays_neither_initialize_nor_lists_nor_calls(tmp_path: Path) -> None:
    with backend("good") as good, hanging_backend() as hung:
        content = config(entry("good", good.url), *(entry(f"hung{n}", hung) for n in range(5)), **SLOW_CHECKS)
        async with gateway(tmp_path, content) as running:
            began = time.monotonic()
            client = await LegacySpeaker.open(running)
            names: list[str] = []

            async def listed() -> bool:
                tools = (await client.ask("tools/list")).json()["result"]["tools"]
                names[:] = [tool["name"] for tool in tools]
                return bool(names)

            await until(listed)
            answer = await client.ask("tools/call", {"name": "good_whoami", "arguments": {}})
            # Below any timeout of a hung one: a list waits 10 s for it, a call 30 s.
            assert time.monotonic() - began < 9
            assert all(name.startswith("good_") for name in names)
            assert "good" in answer.text


async def test_calls_go_on_while_another_backend_hangs_in_calls(tmp_path: Path) -> None:
    with backend("a") as a, backend("b") as b:
        async with gateway(tmp_path, config(entry("a", a.url), entry("b", b.url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: has_tools(client, 10))
            hung = [
                asyncio.create_task(client.ask("tools/call", {"name": "a_slow", "arguments": {"seconds": 20}}, ident=n))
                for n in range(100, 110)
            ]
            answers = await asyncio.gather(
                *(client.ask("tools/call", {"name": "b_whoami", "arguments": {}}, ident=n) for n in range(20))
            )
            assert not any(task.done() for task in hung)
            assert sorted(answer.json()["id"] for answer in answers if answer.status_code == 200) == list(range(20))
            for task in hung:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*hung)


async def test_a_call_ends_at_its_backends_own_timeout(tmp_path: Path) -> None:
    with backend("a") as a, backend("b") as b:
        content = config(entry("a", a.url), entry("b", b.url))
        content["operational"] = {
            **content["operational"],
            "timeouts": {"default": "30s", "perWorkload": {"a": "300ms"}},
        }
        async with gateway(tmp_path, content) as running, Client(running.url, mode="legacy") as client:
            await until(lambda: sdk_lists(client, 10))
            with pytest.raises(MCPError) as caught:
                await client.call_tool("a_slow", {"seconds": 20})
            assert caught.value.code == -32603
            assert "backend 'a' gave no answer" in caught.value.message
            assert caught.value.data["category"] == "timeout"
            slow = await client.call_tool("b_slow", {"seconds": 0.6})
            assert slow.structured_content == {"result": "slept"}


async def test_a_call_that_was_never_sent_reads_as_unavailable(tmp_path: Path) -> None:
    with backend("a") as a:
        content = config(entry("a", a.url), **SLOW_CHECKS)
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: has_tools(client, 5))
            a.stop()

            async def refused() -> bool:
                answer = (await client.ask("tools/call", {"name": "a_whoami", "arguments": {}})).json()
                # The first call may still find the broken connection and not know whether it was sent.
                return bool(answer.get("error", {}).get("code") == -32003)

            await until(refused)
            # One blip is not the death of a backend: its lists are still served.
            assert await has_tools(client, 5)


async def test_a_name_of_a_backend_that_was_never_seen_reads_as_unavailable(tmp_path: Path) -> None:
    content = config(entry("a", f"http://127.0.0.1:{free_port()}/mcp"))
    async with gateway(tmp_path, content) as running:
        client = await LegacySpeaker.open(running)
        for _ in range(2):
            answer = (await client.ask("tools/call", {"name": "a_whoami", "arguments": {}})).json()
            assert answer["error"]["code"] == -32003
        answer = (await client.ask("tools/call", {"name": "b_whoami", "arguments": {}})).json()
        assert answer["error"]["code"] == -32602


async def test_the_first_call_to_a_gateway_that_has_just_started_is_answered(tmp_path: Path) -> None:
    with backend("a") as a:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            client = await LegacySpeaker.open(running)
            answer = (await client.ask("tools/call", {"name": "a_whoami", "arguments": {}})).json()
            # On a machine too busy to read one list within a second it is told to try again.
            assert "result" in answer or answer["error"]["code"] == -32003


async def test_partial_failure_mode_fail_names_the_backend_and_ends_when_it_is_out(tmp_path: Path) -> None:
    with backend("a") as a:
        content = config(entry("a", a.url), entry("dead", f"http://127.0.0.1:{free_port()}/mcp"))
        handling = {**content["operational"]["failureHandling"], "partialFailureMode": "fail"}
        content["operational"] = {"failureHandling": {**handling, "healthCheckInterval": "1s"}}
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            first = (await client.ask("tools/list")).json()
            if "error" in first:
                assert "backend 'dead' failed to list" in first["error"]["message"]
            await until(lambda: has_tools(client, 5))


async def test_a_call_is_cancelled_at_the_backend_when_its_client_leaves(tmp_path: Path) -> None:
    for kind in ("legacy", "modern"):
        calls = Calls()
        with backend("a", kind, calls) as a:
            async with gateway(tmp_path, config(entry("a", a.url))) as running:
                client = await LegacySpeaker.open(running)
                await until(lambda client=client: has_tools(client, 5))
                call = asyncio.create_task(client.ask("tools/call", {"name": "a_slow", "arguments": {"seconds": 25}}))
                await until(calls.slow_started.is_set)
                call.cancel()
                await until(calls.slow_cancelled.is_set)


async def test_a_call_is_cancelled_by_its_request_id(tmp_path: Path) -> None:
    calls = Calls()
    with backend("a", "legacy", calls) as a:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: has_tools(client, 5))
            call = asyncio.create_task(
                client.ask("tools/call", {"name": "a_slow", "arguments": {"seconds": 25}}, ident="c1")
            )
            await until(calls.slow_started.is_set)
            for ident in ("other", 1, "c1"):
                message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": ident}}
                assert (await client.send(message)).status_code == 202
            answer = await call
            assert "-32800" in answer.text
            await until(calls.slow_cancelled.is_set)


async def test_a_client_that_sends_half_a_request_and_leaves_harms_nobody(tmp_path: Path) -> None:
    with backend("a") as a:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            port = int(running.origin.rpartition(":")[2])
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall(b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + b'{"jsonrpc"')
            assert (await running.get("/health")).status_code == 200


async def has_tools(client: LegacySpeaker, count: int) -> bool:
    answer: httpx.Response = await client.ask("tools/list")
    return len(answer.json().get("result", {}).get("tools", ())) == count


async def sdk_lists(client: Client, count: int) -> bool:
    return len((await client.list_tools()).tools) == count
