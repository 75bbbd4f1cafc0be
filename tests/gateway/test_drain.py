"""SIGTERM: running calls end, streams are closed, nothing new is taken, the process ends with status 0."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import Calls, Running, backend, config, entry, free_port, gateway, until

START = """
import sys
from pathlib import Path
from vmcp.gateway.server import run
from vmcp.gateway.settings import ServeOptions
sys.exit(run(ServeOptions(Path(sys.argv[1]), port=int(sys.argv[2]))))
"""

PATIENT = "import vmcp.gateway.server as s\ns.LINGER_S, s.DRAIN_S = 600.0, 900.0\n"
IN_A_POD = START.replace("sys.exit(", PATIENT + "sys.exit(")


async def test_a_running_call_ends_and_streams_are_closed(tmp_path: Path) -> None:
    calls = Calls()
    with backend("a", "legacy", calls) as a:
        port = free_port()
        running = Running(tmp_path / "config.yaml", port)
        running.write(config(entry("a", a.url)))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, str(running.file), str(port), stderr=asyncio.subprocess.PIPE
        )
        try:
            await until(lambda: ready(running))
            client = await LegacySpeaker.open(running)
            await until(lambda: listed(client))
            call = asyncio.create_task(client.ask("tools/call", {"name": "a_slow", "arguments": {"seconds": 1.5}}))
            headers = {"Accept": "text/event-stream", "Mcp-Session-Id": client.session}
            async with (
                httpx.AsyncClient(timeout=30) as http,
                http.stream("GET", running.url, headers=headers) as stream,
            ):
                await until(calls.slow_started.is_set)
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(30):
                    async for _ in stream.aiter_bytes():
                        pass
            answer = await call
            assert answer.json()["result"]["structuredContent"] == {"result": "slept"}
            async with asyncio.timeout(30):
                assert await process.wait() == 0
            assert process.stderr is not None
            assert b"Traceback" not in await process.stderr.read()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_call_that_does_not_end_in_time_gets_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmcp.gateway.server.DRAIN_S", 0.5)
    calls = Calls()
    with backend("a", "legacy", calls) as a:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: listed(client))
            call = asyncio.create_task(client.ask("tools/call", {"name": "a_slow", "arguments": {"seconds": 60}}))
            await until(calls.slow_started.is_set)
        answer = await call
        assert answer.json()["error"]["message"] == "Request cancelled: the gateway is stopping"


async def test_in_a_pod_whoever_still_comes_is_served_and_sent_elsewhere_between_two_requests(tmp_path: Path) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("token")
    (account / "ca.crt").write_text("")
    environment = os.environ | {
        "VMCP_NAME": "gate",
        "VMCP_NAMESPACE": "prod",
        "VMCP_SERVICEACCOUNT_DIR": str(account),
        "VMCP_ALLOW_LOOPBACK": "1",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "1",
    }
    with backend("a", "modern") as a:
        port = free_port()
        running = Running(tmp_path / "config.yaml", port)
        running.write(config(entry("a", a.url)))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", IN_A_POD, str(running.file), str(port), env=environment
        )
        try:
            await until(lambda: ready(running))
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a_add"))
            process.send_signal(signal.SIGTERM)
            await until(lambda: stopping(running))
            for _ in range(5):
                newcomer = await LegacySpeaker.open(running)
                for speaker in (client, newcomer):
                    answer = await speaker.ask("tools/call", {"name": "a_add", "arguments": {"a": 1, "b": 2}})
                    assert answer.json()["result"]["structuredContent"] == {"result": 3}
                    assert answer.headers["connection"] == "close"
                page = await running.get("/health")
                assert (page.status_code, page.headers["connection"]) == (200, "close")
        finally:
            process.kill()
            await process.wait()


async def stopping(running: Running) -> bool:
    page = await running.get("/readyz")
    return page.status_code == 503 and page.json()["reason"] == "stopping"


async def ready(running: Running) -> bool:
    try:
        return (await running.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def listed(client: LegacySpeaker) -> bool:
    return await lists(client, "a_slow")


async def lists(client: LegacySpeaker, tool: str) -> bool:
    return tool in json.dumps((await client.ask("tools/list")).json())
