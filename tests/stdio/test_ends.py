"""How calls, clients and servers end."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import httpx
import pytest
import uvloop
from mcp import Client, MCPError
from tests.gateway.world import PATIENCE_S, Running, until
from tests.stdio.proxying import CRUDE, TALKING, Speaker, proxy

from vmcp.mcp.endpoint import Identity
from vmcp.stdio.attach import Attach, AttachError, Source
from vmcp.stdio.local import Command
from vmcp.stdio.metrics import Metrics
from vmcp.stdio.outbox import MOST_BYTES, Outbox
from vmcp.stdio.server import MOST_LINE_BYTES, Server


async def test_a_dead_server_fails_every_call_at_once_and_clients_begin_anew() -> None:
    async with proxy(CRUDE) as running:
        client, other = await Speaker.open(running), await Speaker.open(running)
        async with other.listening():
            waiting = [asyncio.create_task(client.fails("silence", ident=ident)) for ident in ("a", "b", 3)]
            await until(lambda: under_way(running, 3))
            for error in [await other.fails("die"), *await asyncio.gather(*waiting)]:
                # Not -32003: that would say that repeating the call is safe.
                assert error["code"] == -32603
                assert error["message"] == "the server gave no answer: the server ended with status 3"
        await until(lambda: stands(running, attaches=2))
        for speaker in (client, other):
            assert (await speaker.post({"id": 1, "method": "tools/list"})).status_code == 404
        again = await Speaker.open(running)
        assert await again.call("echo", text="alive") == "alive"


async def test_an_official_client_goes_on_after_the_server_was_killed() -> None:
    async with proxy(TALKING) as running:
        async with Client(running.url, mode="legacy", cache=None, read_timeout_seconds=30) as client:
            pid = int((await client.call_tool("pid", {})).content[0].text)  # type: ignore[union-attr]
            os.kill(pid, signal.SIGKILL)
            await until(lambda: stands(running, attaches=2))
            with pytest.raises(MCPError):
                await client.call_tool("pid", {})
        async with Client(running.url, mode="legacy", cache=None, read_timeout_seconds=30) as client:
            assert int((await client.call_tool("pid", {})).content[0].text) != pid  # type: ignore[union-attr]


async def test_while_there_is_no_server_the_reason_is_told(tmp_path: Path) -> None:
    async with proxy(Command([str(tmp_path / "nothing")]), ready=False) as running:
        assert (await running.get("/health")).status_code == 200
        ready = await running.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["reason"].endswith("nothing cannot be started (No such file or directory)")
        answer = await running.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
        assert answer.status_code == 503
        assert "vmcp_stdio_up 0.0" in (await running.get("/metrics")).text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"jsonrpc":"2.0","id":ID,"error":{"code":-32601,"message":"no"}}', "refuses to initialize"),
        ('{"jsonrpc":"2.0","id":ID,"result":{"protocolVersion":"3000-01-01"}}', "no MCP revision that we speak"),
        ('{"jsonrpc":"2.0","id":ID,"result":[]}', "is not MCP"),
        ("", "the server ended with status 0"),
    ],
)
async def test_a_server_that_does_not_initialize_is_said_to_be_one(line: str, reason: str) -> None:
    script = f"import json; ident = str(json.loads(input())['id']); print({line!r}.replace('ID', ident), flush=True); "
    script += "input()" if line else ""
    async with proxy(Command([sys.executable, "-c", script]), ready=False) as running:
        await until(lambda: says(running, reason))


async def test_a_cancelled_call_is_cancelled_at_the_server_under_its_own_id() -> None:
    async with proxy(CRUDE) as running:
        client, other = await Speaker.open(running), await Speaker.open(running)
        one = asyncio.create_task(client.fails("silence", ident=9))
        two = asyncio.create_task(other.fails("silence", ident=9))
        await until(lambda: under_way(running, 2))
        await client.post({"method": "notifications/cancelled", "params": {"requestId": 9}})
        assert (await one)["code"] == -32800
        sent = {call["id"] for call in await client.seen("tools/call") if call["params"]["name"] == "silence"}
        (cancelled,) = await client.seen("notifications/cancelled")
        assert cancelled["params"]["requestId"] in sent
        assert not two.done()
        await other.post({"method": "notifications/cancelled", "params": {"requestId": 9}})
        await two
        assert {each["params"]["requestId"] for each in await client.seen("notifications/cancelled")} == sent


async def test_a_client_that_hangs_up_cancels_its_calls(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    async with proxy(TALKING) as running:
        client = await Speaker.open(running)
        params = {"name": "wait", "arguments": {"seconds": 600, "noted": str(noted)}}
        call = asyncio.create_task(client.ask("tools/call", params))
        await until(lambda: noted.exists() and noted.read_text() == "begun")
        call.cancel()
        await until(lambda: noted.read_text() == "cancelled")


async def test_a_client_that_ends_its_session_cancels_its_calls() -> None:
    async with proxy(CRUDE) as running:
        client, other = await Speaker.open(running), await Speaker.open(running)
        call = asyncio.create_task(client.fails("silence"))
        await until(lambda: under_way(running, 1))
        async with httpx.AsyncClient(timeout=30) as http:
            await http.request("DELETE", running.url, headers={"Mcp-Session-Id": client.session})
        assert (await call)["code"] == -32800
        assert len(await other.seen("notifications/cancelled")) == 1


async def test_a_call_that_takes_too_long_ends_and_is_cancelled() -> None:
    async with proxy(CRUDE, timeout_s=2.0) as running:
        client = await Speaker.open(running)
        assert (await client.fails("silence"))["message"] == "the server did not answer within 2 s"

        async def cancelled() -> bool:
            # On a busy machine this call may itself take too long.
            with contextlib.suppress(KeyError):
                sent = [each["id"] for each in await client.seen("tools/call") if each["params"]["name"] == "silence"]
                heard = [each["params"]["requestId"] for each in await client.seen("notifications/cancelled")]
                return len(sent) == 1 and heard.count(sent[0]) == 1
            return False

        await until(cancelled)


async def test_a_late_answer_reaches_nobody() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        held = asyncio.create_task(client.fails("hold", ident="held"))
        await until(lambda: under_way(running, 1))
        await client.post({"method": "notifications/cancelled", "params": {"requestId": "held"}})
        assert (await held)["code"] == -32800
        waiting = [asyncio.create_task(client.fails("silence", ident=ident)) for ident in range(3)]
        await until(lambda: under_way(running, 3))
        assert await client.call("release", ident="other") == "released"
        # Its answer came first, and those who wait do so still.
        assert await under_way(running, 3)
        for call in waiting:
            call.cancel()


async def test_one_call_more_than_may_be_under_way_is_refused() -> None:
    async with proxy(CRUDE, most_calls=2) as running:
        client = await Speaker.open(running)
        waiting = [asyncio.create_task(client.fails("silence", ident=ident)) for ident in (1, 2)]
        await until(lambda: under_way(running, 2))
        assert "2 calls are under way" in (await client.fails("echo", ident=3, text="x"))["message"]
        await client.post({"method": "notifications/cancelled", "params": {"requestId": 1}})
        await waiting[0]
        assert await client.call("echo", ident=4, text="room") == "room"
        waiting[1].cancel()


async def test_garbage_on_stdout_is_skipped() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        assert await client.call("garbage") == "after all that"
        assert "vmcp_stdio_skipped_lines_total 8.0" in (await running.get("/metrics")).text


async def test_long_lines_pass_and_too_long_ones_fail_their_call_only() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        assert len(await client.call("long", size=MOST_LINE_BYTES - 1000)) == MOST_LINE_BYTES - 1000
        waiting = asyncio.create_task(client.call("echo", ident="w", text="other", seconds=2))
        for tool in ("long", "long_id_last"):
            error = await client.fails(tool, ident=tool, size=MOST_LINE_BYTES)
            assert "longer than 16777216 bytes" in error["message"]
        assert await waiting == "other"
        large = "y" * 3_900_000
        assert await client.call("echo", text=large) == large


async def test_a_server_that_stops_reading_makes_its_callers_wait_and_loses_nothing() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        await client.call("deaf", seconds=2)
        texts = [str(number) * 1_000_000 for number in range(8)] * 3
        calls = [client.call("echo", ident=ident, text=text) for ident, text in enumerate(texts)]
        assert await asyncio.gather(*calls) == texts


async def test_callers_of_a_server_that_does_not_read_are_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # Soon posted on any machine; and the pipe does not take even the first call as a whole.
    monkeypatch.setattr("vmcp.stdio.outbox.MOST_WAITING_BYTES", 2_000_000)
    async with proxy(CRUDE, timeout_s=5) as running:
        client = await Speaker.open(running)
        await client.call("deaf", seconds=600)
        large = "y" * 600_000
        calls = [asyncio.create_task(client.fails("echo", ident=ident, text=large)) for ident in range(12)]
        errors = [await call for call in calls]
        assert any("did not answer within 5 s" in error["message"] for error in errors)
        assert any("too much waits for it already" in error["message"] for error in errors)
        assert any("has not read in time what came before" in error["message"] for error in errors)
        # Of what was never sent it is said that repeating it is safe.
        for error in errors:
            assert error["code"] == (-32603 if "did not answer" in error["message"] else -32003)


async def test_stderr_goes_to_the_log_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vmcp.stdio.stderr")
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        await client.call("complain", text="something \x1b[31mred\x00")
        await until(lambda: "something \N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}" in caplog.text)


async def test_a_stopped_proxy_lets_running_calls_end() -> None:
    async with proxy(CRUDE) as running:
        client = await Speaker.open(running)
        call = asyncio.create_task(client.call("echo", text="to the end", seconds=1.5))
        await until(lambda: under_way(running, 1))
    assert await call == "to the end"


class Clinging(Source, Attach):
    """A server whose output ends at once, and whose stdin takes its time to let go."""

    def __init__(self) -> None:
        self.clings, self.lets_go = asyncio.Event(), asyncio.Event()

    async def open(self) -> Attach:
        return self

    async def output(self) -> AsyncGenerator[bytes, None]:
        for never in ():
            yield never

    async def write(self, data: bytes) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.clings.set()
            await self.lets_go.wait()

    async def close(self) -> None:
        return


async def test_a_stop_is_heeded_also_while_a_session_is_failing() -> None:
    async def lost() -> None:
        return

    source = Clinging()
    server = Server(
        source, identity=Identity("t", "0", b"{}"), heard=lambda _: None, lost=lost, most_calls=1, metrics=Metrics()
    )
    running = asyncio.create_task(server.run())
    async with asyncio.timeout(PATIENCE_S):
        await source.clings.wait()
        running.cancel()
        await asyncio.sleep(0)
        source.lets_go.set()
        await asyncio.wait([running])
    assert running.cancelled()


async def test_a_server_that_asks_and_does_not_read_fills_no_memory() -> None:
    outbox = Outbox()
    for _ in range(100):
        outbox.put(b"x" * (MOST_BYTES // 50))
    written = 0

    async def write(data: bytes) -> None:
        nonlocal written
        written += len(data)

    writing = asyncio.create_task(outbox.run(write))
    await until(lambda: not outbox.full)
    writing.cancel()
    assert MOST_BYTES <= written <= MOST_BYTES * 1.05


async def test_a_command_that_ignores_its_end_is_killed_when_the_stop_cannot_wait() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    attach = await Command([sys.executable, "-c", deaf]).open()
    await anext(attach.output())
    closing = asyncio.create_task(attach.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(AttachError, match="ended with status -9"):
            async for _ in attach.output():
                pass


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_writing_to_a_server_that_is_gone_is_said_on_either_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        attach = await Command([sys.executable, "-c", "print(1, flush=True); input()"]).open()
        await anext(attach.output())
        await attach.close()
        with pytest.raises(AttachError, match="the server reads no more"):
            await attach.write(b"{}\n")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def under_way(running: Running, calls: int) -> bool:
    return f"vmcp_stdio_calls_under_way {calls}.0" in (await running.get("/metrics")).text


async def stands(running: Running, *, attaches: int) -> bool:
    text = (await running.get("/metrics")).text
    return "vmcp_stdio_up 1.0" in text and f"vmcp_stdio_attaches_total {attaches}.0" in text


async def says(running: Running, reason: str) -> bool:
    return reason in (await running.get("/readyz")).text
