"""A client goes on with its session at another replica, for each has the key; one that ended is not begun anew."""

import asyncio
import contextlib
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from tests.gateway.processes import KEY, START, gateway_process
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import Running, backend, config, entry, until


@contextlib.asynccontextmanager
async def replica(folder: Path, content: dict[str, Any], key: str = KEY) -> AsyncIterator[tuple[Running, int]]:
    """A gateway in a process of its own, and its process id."""
    async with gateway_process(folder, content, key=key) as served:
        yield served.running, served.pid


@pytest.fixture(scope="module")
def content() -> Iterator[dict[str, Any]]:
    with backend("a", "legacy") as a:
        yield config(entry("a", a.url))


@contextlib.asynccontextmanager
async def two(folder: Path, content: dict[str, Any]) -> AsyncIterator[tuple[Running, Running]]:
    async with replica(folder, content) as (one, _), replica(folder, content) as (other, _):
        yield one, other


async def added(client: LegacySpeaker) -> bool:
    answer = await client.ask("tools/call", {"name": "a_add", "arguments": {"a": 2, "b": 3}})
    return "5" in answer.text and "error" not in answer.json()


async def test_a_session_goes_on_at_another_replica(tmp_path: Path, content: dict[str, Any]) -> None:
    async with two(tmp_path, content) as (one, other):
        client = await LegacySpeaker.open(one)
        await until(lambda: added(client))
        moved = LegacySpeaker(other, client.session)
        await until(lambda: added(moved))
        # The session agreed on a revision without batches, and the other replica knows.
        assert (await moved.send([{"jsonrpc": "2.0", "id": 1, "method": "ping"}])).status_code == 400
        # It is the same session, not one for each request.
        assert "vmcp_gateway_sessions 1.0" in (await other.get("/metrics")).text
        assert await added(client)


async def test_a_stream_goes_on_at_another_replica_and_reads_the_lists_again(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    async with two(tmp_path, content) as (one, other):
        client = await LegacySpeaker.open(one)
        # The third event of the GET stream was the last one that came.
        methods = await told(other, client.session, "0-3")
        assert methods == {f"notifications/{which}/list_changed" for which in ("tools", "prompts", "resources")}
        # The event of a call's stream is one that this replica never saw: it is not mistaken for one of its own.
        moved = LegacySpeaker(other, client.session)
        await moved.interrupted("a_count", {"to": 5})
        assert (await moved.stream("1-0")).status_code == 400


async def told(running: Running, session: str, last_event_id: str) -> set[str]:
    """The methods of the first three messages of the stream that goes on after that event."""
    headers = {"Accept": "text/event-stream", "Mcp-Session-Id": session, "Last-Event-ID": last_event_id}
    seen: list[str] = []
    async with (
        asyncio.timeout(30),
        httpx.AsyncClient(timeout=30) as http,
        http.stream("GET", running.url, headers=headers) as response,
    ):
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                seen.append(json.loads(line[6:])["method"])
                if len(seen) == 3:
                    break
    return set(seen)


async def test_a_session_that_ended_or_is_nobodys_is_404(tmp_path: Path, content: dict[str, Any]) -> None:
    async with two(tmp_path, content) as (one, other):
        client = await LegacySpeaker.open(one)
        session = client.session
        async with httpx.AsyncClient(timeout=30) as http:
            assert (await http.delete(one.url, headers={"Mcp-Session-Id": session})).status_code == 200
            assert (await http.delete(one.url, headers={"Mcp-Session-Id": session})).status_code == 404
            assert (await http.delete(one.url)).status_code == 400
            assert (await client.ask("ping")).status_code == 404
            # A session that began elsewhere can be ended here without a request before.
            assert (await http.delete(other.url, headers={"Mcp-Session-Id": session})).status_code == 200
            assert (await LegacySpeaker(other, session).ask("ping")).status_code == 404
        fresh = (await LegacySpeaker.open(one)).session
        for wrong in (fresh[:-1], fresh + "A", fresh.swapcase(), "x" * 5_000, "a", "ä"):
            raw = wrong.encode("latin-1").decode("latin-1")
            answer = await httpx_post(other, raw)
            assert answer.status_code == 404, wrong
        assert (await LegacySpeaker(other, fresh).ask("ping")).status_code == 200


async def httpx_post(running: Running, session: str) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Mcp-Session-Id": session.encode("latin-1")}
    async with httpx.AsyncClient(timeout=30) as http:
        return await http.post(running.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers)  # type: ignore[arg-type]


async def test_the_official_client_has_a_sealed_session(tmp_path: Path, content: dict[str, Any]) -> None:
    async with replica(tmp_path, content) as (running, _):

        async def serves() -> bool:
            async with Client(running.url, mode="legacy") as client:
                tools = [tool.name for tool in (await client.list_tools()).tools]
                if "a_add" not in tools:
                    return False
                answer = await client.call_tool("a_add", {"a": 2, "b": 3})
                return answer.structured_content == {"result": 5}

        await until(serves)
        # Its DELETE has ended each of them.
        assert "vmcp_gateway_sessions 0.0" in (await running.get("/metrics")).text


async def test_a_gateway_with_another_key_knows_nothing_of_the_session(tmp_path: Path, content: dict[str, Any]) -> None:
    async with replica(tmp_path, content) as (one, _), replica(tmp_path, content, key="") as (other, _):
        client = await LegacySpeaker.open(one)
        assert (await LegacySpeaker(other, client.session).ask("ping")).status_code == 404


async def test_a_key_that_is_none_is_refused_without_being_repeated(tmp_path: Path, content: dict[str, Any]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(content))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        START,
        str(file),
        "0",
        "1",
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"VMCP_SESSION_HMAC_SECRET": "c2VjcmV0"},
    )
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert b"VMCP_SESSION_HMAC_SECRET" in said
    assert b"c2VjcmV0" not in said


async def test_a_thousand_live_sessions_take_less_than_sixty_megabytes(tmp_path: Path, content: dict[str, Any]) -> None:
    """Live: initialized, with an open GET stream each, which is what the official clients do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4_096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard))
    async with replica(tmp_path, content) as (running, pid):
        warm = [await LegacySpeaker.open(running) for _ in range(10)]
        assert all(await asyncio.gather(*(each.ask("ping") for each in warm)))
        before = resident_kib(pid)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=60, limits=limits) as http, contextlib.AsyncExitStack() as streams:
            for _ in range(1_000):
                session = await opened(http, running)
                headers = {"Accept": "text/event-stream", "Mcp-Session-Id": session}
                await streams.enter_async_context(http.stream("GET", running.url, headers=headers))
            taken = resident_kib(pid) - before
            assert "vmcp_gateway_sessions 1010.0" in (await running.get("/metrics")).text
        assert taken < 60 * 1024, f"{taken} KiB"


async def opened(http: httpx.AsyncClient, running: Running) -> str:
    declared = {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {}}
    params = {"protocolVersion": "2025-11-25", "capabilities": declared, "clientInfo": {"name": "t", "version": "0"}}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    return (await http.post(running.url, json=message)).headers["mcp-session-id"]


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))
