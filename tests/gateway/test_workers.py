"""Several workers serve as one: they agree, are counted together, are started anew, and stop together."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.gateway.asking import Seen, asking_backend
from tests.gateway.processes import START, STOP_S, Process, gateway_process, held_by_a_thread
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.world import FAST, Calls, Running, backend, config, entry, free_port, until

from vmcp.gateway.workers.silence import LOOK_S

CONNECTIONS = 16
"""So many, one after another, do not all come to the same of two workers."""

SILENT_S = 5.0
IMPATIENT = f"""
from vmcp.gateway.workers import parent
parent.SILENT_S = {SILENT_S}
"""


@pytest.fixture(scope="module")
def calls() -> Calls:
    return Calls()


@pytest.fixture(scope="module")
def content(calls: Calls) -> Iterator[dict[str, Any]]:
    with backend("a", "legacy", calls) as a:
        yield config(entry("a", a.url))


@pytest.fixture(scope="module")
def served(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Two workers, for all that ends neither of them."""
    with held_by_a_thread(gateway_process(tmp_path_factory.mktemp("gateway"), content, workers=2)) as served:
        yield served


async def added(client: LegacySpeaker) -> bool:
    answer = await client.ask("tools/call", {"name": "a_add", "arguments": {"a": 2, "b": 3}})
    return "5" in answer.text and "error" not in answer.json()


async def sample(running: Running, series: str) -> float:
    text = (await running.get("/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{series}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


async def test_every_connection_leads_to_the_session(served: Process) -> None:
    sessions = await sample(served.running, "vmcp_gateway_sessions")
    clients = [await LegacySpeaker.open(served.running) for _ in range(CONNECTIONS)]
    await until(lambda: added(clients[0]))
    for client in clients:
        assert await added(client)
    # Each is one session, in whichever worker it began.
    assert await sample(served.running, "vmcp_gateway_sessions") == sessions + CONNECTIONS
    before = await sample(served.running, "vmcp_gateway_calls_total")
    for _ in range(CONNECTIONS):
        assert await added(clients[0])
    assert await sample(served.running, "vmcp_gateway_calls_total") == before + CONNECTIONS


async def test_large_requests_and_kept_connections_move_too(served: Process) -> None:
    client = await LegacySpeaker.open(served.running)
    await until(lambda: added(client))
    head = {"Mcp-Session-Id": client.session, "Accept": "application/json, text/event-stream"}
    padded = {"name": "a_add", "arguments": {"a": 2, "b": 3}, "_meta": {"padding": "x" * 300_000}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": padded}
    for _ in range(CONNECTIONS // 2):
        async with httpx.AsyncClient(timeout=30) as http:
            for _ in range(3):
                answer = await http.post(served.running.url, json=message, headers=head)
                assert answer.json()["result"]["structuredContent"] == {"result": 5}


async def test_a_call_is_cancelled_by_another_connection(served: Process, calls: Calls) -> None:
    client = await LegacySpeaker.open(served.running)
    await until(lambda: added(client))
    for number in range(4):
        calls.slow_started.clear()
        calls.slow_cancelled.clear()
        slow = asyncio.create_task(
            client.ask("tools/call", {"name": "a_slow", "arguments": {"seconds": 60}}, ident=number)
        )
        await until(calls.slow_started.is_set)
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
        assert (await client.send(cancelled)).status_code == 202
        assert "Request cancelled" in (await slow).text
        await until(calls.slow_cancelled.is_set)


async def test_a_session_that_was_deleted_is_gone_for_every_connection(served: Process) -> None:
    client = await LegacySpeaker.open(served.running)
    async with httpx.AsyncClient(timeout=30) as http:
        assert (await http.delete(served.running.url, headers={"Mcp-Session-Id": client.session})).is_success
    for _ in range(CONNECTIONS):
        assert (await client.ask("ping")).status_code == 404


async def test_requests_that_wait_behind_one_another_are_all_answered(served: Process) -> None:
    """Their connection cannot move; the worker that has it serves them itself."""
    client = await LegacySpeaker.open(served.running)
    message = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    request = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nMcp-Session-Id: {client.session}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"Content-Length: {len(message)}\r\n\r\n"
    ).encode() + message
    for _ in range(CONNECTIONS):
        port = int(served.running.origin.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request * 3)
        async with asyncio.timeout(30):
            for _ in range(3):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                assert b'"result":{}' in await reader.readexactly(int(length[1]))
        writer.close()


async def test_all_workers_use_the_same_backends_and_one_of_them_probes(tmp_path: Path) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with gateway_process(tmp_path, config(entry("a", asking.url)), workers=2) as served:

            async def all_say(health: str) -> bool:
                told = [(await served.running.get("/status")).json()["backends"][0] for _ in range(CONNECTIONS)]
                return all(each["health"] == health for each in told)

            await until(lambda: all_say("healthy"))
            # The probes' session declares nothing; those for the workers' lists declare what clients may be asked.
            await until(lambda: len([capabilities for capabilities in seen.opened if capabilities]) == 2)
            assert {} in seen.opened
            asking.stop()
            await until(lambda: all_say("unhealthy"))
            modern = ModernSpeaker(served.running)
            for _ in range(CONNECTIONS):
                assert (await modern.ask("tools/call", {"name": "a_say"})).json()["error"]["code"] == -32003
            asking.start()
            await until(lambda: all_say("healthy"))


async def test_calls_of_all_workers_open_the_local_breaker_of_all(tmp_path: Path) -> None:
    quiet = FAST | {"healthCheckInterval": "10m", "fastInterval": "0s"}
    with backend("a", "legacy") as a:
        content = config(entry("a", a.url), operational={"failureHandling": quiet})
        async with gateway_process(tmp_path, content, workers=2) as served:
            client = ModernSpeaker(served.running)

            async def code() -> int:
                answer = (await client.ask("tools/call", {"name": "a_whoami"})).json()
                return int(answer.get("error", {}).get("code", 0))

            await until(lambda: _is(code, 0))
            a.stop()

            async def all_refuse() -> bool:
                return {await code() for _ in range(CONNECTIONS)} == {-32003}

            await until(all_refuse)
            a.start()

            async def all_serve() -> bool:
                return {await code() for _ in range(CONNECTIONS)} == {0}

            # The one worker's trials bring it back for all.
            await until(all_serve)


async def _is(value: Any, wanted: object) -> bool:
    return bool(await value() == wanted)


async def test_a_changed_configuration_reaches_every_worker(served: Process, content: dict[str, Any]) -> None:
    served.running.write({**content, "groupRef": "another"})
    await until(lambda: all_are_of(served, "another"))


async def test_what_changed_while_the_worker_that_watches_was_away_reaches_every_worker(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    async with gateway_process(tmp_path, content, workers=2) as served:
        leader = served.workers()[0]
        os.kill(leader, signal.SIGSTOP)
        served.running.write({**content, "groupRef": "another"})
        os.kill(leader, signal.SIGKILL)
        await until(lambda: all_are_of(served, "another"))


async def all_are_of(served: Process, group: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return {(await served.running.get("/status")).json()["group_ref"] for _ in range(CONNECTIONS)} == {group}
    return False


@pytest.mark.parametrize("victim", [0, 1])
async def test_a_worker_that_is_killed_is_started_anew(tmp_path: Path, content: dict[str, Any], victim: int) -> None:
    async with gateway_process(tmp_path, content, workers=2) as served:
        clients = [await LegacySpeaker.open(served.running) for _ in range(CONNECTIONS)]
        await until(lambda: added(clients[0]))
        await served.running.get("/metrics")
        killed, other = served.workers()[victim], served.workers()[1 - victim]
        os.kill(killed, signal.SIGKILL)
        await until(lambda: len(served.workers()) == 2 and killed not in served.workers())
        assert other in served.workers()

        async def all_serve() -> bool:
            with contextlib.suppress(httpx.TransportError, json.JSONDecodeError):
                return all([await added(client) for client in clients])
            return False

        # What its clients send meanwhile waits for the new one, which can read their ids.
        await until(all_serve)


@pytest.mark.parametrize("victim", [0, 1])
async def test_a_worker_that_hangs_is_started_anew(tmp_path: Path, content: dict[str, Any], victim: int) -> None:
    async with gateway_process(tmp_path, content, workers=2, before=IMPATIENT) as served:
        clients = [await LegacySpeaker.open(served.running) for _ in range(CONNECTIONS)]
        await until(lambda: added(clients[0]))
        hanging, other = served.workers()[victim], served.workers()[1 - victim]
        os.kill(hanging, signal.SIGSTOP)
        # Half of these are for the one that hangs: they wait for the one that takes its place.
        assert all(await asyncio.gather(*(client.ask("ping") for client in clients)))
        assert len(served.workers()) == 2
        assert hanging not in served.workers()
        assert other in served.workers()


async def test_nobody_is_killed_because_the_machine_stood_still(tmp_path: Path, content: dict[str, Any]) -> None:
    async with gateway_process(tmp_path, content, workers=2, before=IMPATIENT) as served:
        workers = served.workers()
        # The parent has looked at least once.
        await asyncio.sleep(2 * LOOK_S)
        for pid in (served.pid, *workers):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1.5 * SILENT_S)
        # The parent is awake first, and has heard of nobody for longer than it allows.
        for pid in (served.pid, *workers):
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(1)
        client = await LegacySpeaker.open(served.running)
        await until(lambda: added(client))
        assert served.workers() == workers


@pytest.mark.parametrize("victim", [0, 1])
async def test_what_a_killed_worker_counted_stays_counted(tmp_path: Path, content: dict[str, Any], victim: int) -> None:
    async with gateway_process(tmp_path, content, workers=2) as served:
        clients = [await LegacySpeaker.open(served.running) for _ in range(CONNECTIONS)]
        await until(lambda: added(clients[0]))
        for client in clients:
            await added(client)
        before = await sample(served.running, "vmcp_gateway_calls_total")
        killed = served.workers()[victim]
        os.kill(killed, signal.SIGKILL)
        await until(lambda: len(served.workers()) == 2 and killed not in served.workers())

        async def counted_again() -> bool:
            with contextlib.suppress(httpx.TransportError):
                answer = await served.running.get("/metrics")
                return answer.status_code == 200 and await sample(served.running, "vmcp_gateway_calls_total") >= before
            return False

        await until(counted_again)


async def test_both_end_on_sigterm_and_let_a_call_end(tmp_path: Path, content: dict[str, Any], calls: Calls) -> None:
    async with gateway_process(tmp_path, content, workers=2) as served:
        clients = [await LegacySpeaker.open(served.running) for _ in range(4)]
        await until(lambda: added(clients[0]))
        before = calls.slow_count
        params = {"name": "a_slow", "arguments": {"seconds": 3}}
        slow = [asyncio.create_task(client.ask("tools/call", params)) for client in clients]
        await until(lambda: calls.slow_count == before + len(clients))
        served.process.terminate()
        assert all("slept" in answer.text for answer in await asyncio.gather(*slow))
        async with asyncio.timeout(STOP_S):
            assert await served.process.wait() == 0


async def test_workers_do_not_outlive_their_parent(tmp_path: Path, content: dict[str, Any]) -> None:
    async with gateway_process(tmp_path, content, workers=2) as served:
        workers = served.workers()
        served.process.kill()
        await until(lambda: not any(is_running(worker) for worker in workers))


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Whoever ended may wait for its new parent to take notice.
    return "\nState:\tZ" not in status


async def test_a_port_that_is_taken_and_a_bad_file_are_refused_once(tmp_path: Path, content: dict[str, Any]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(content))

    async def refusal(path: Path, port: int) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, str(path), str(port), "2", stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(STOP_S):
            _, said = await process.communicate()
        assert process.returncode == 2
        return said.decode()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "--port" in await refusal(file, taken.getsockname()[1])
    broken = tmp_path / "broken.yaml"
    broken.write_text("{}")
    assert (await refusal(broken, free_port())).count("vmcp serve: ") == 1


FORKLESS = """
import errno, os, sys, time
from pathlib import Path
from vmcp.gateway.workers.parent import Workers

fork, times = os.fork, []

def failing():
    times.append(time.monotonic())
    if len(times) < 3:
        raise BlockingIOError(errno.EAGAIN, "no more processes")
    return fork()

def work(index, parent):
    Path(sys.argv[1]).touch()
    time.sleep(60)
    return 0

os.fork = failing
sys.exit(Workers(1, work, stopping=lambda: None, fatal=2).run())
"""


async def test_a_worker_that_cannot_be_started_now_is_started_later(tmp_path: Path) -> None:
    started = tmp_path / "started"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKLESS, str(started))
    try:
        await until(started.exists)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(STOP_S):
            await process.wait()


DYING = """
import sys, time
from pathlib import Path
from vmcp.gateway.workers.parent import Workers

def work(index, parent):
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{time.monotonic()}\\n")
    return 1

sys.exit(Workers(1, work, stopping=lambda: None, fatal=2).run())
"""


async def test_a_worker_that_dies_at_once_is_started_less_and_less_often(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING, str(starts), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: starts.exists() and len(starts.read_text().splitlines()) >= 4)
    finally:
        process.terminate()
    times = [float(line) for line in starts.read_text().splitlines()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap >= least for gap, least in zip(gaps, (0.1, 0.2, 0.4), strict=False))
    async with asyncio.timeout(STOP_S):
        await process.wait()
