"""Gateways in processes of their own, one worker or several."""

import asyncio
import base64
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
from tests.gateway.world import PATIENCE_S, Running, free_port, until

T = TypeVar("T")

START = """
import os, sys
from pathlib import Path
from vmcp.gateway.server import run
from vmcp.gateway.settings import ServeOptions
from vmcp.gateway.sharing import redisstorage
from vmcp.gateway.workers import gathering
# A machine under load may be slower than what is good for users.
redisstorage.WAIT_S = 3.0
gathering.GATHER_S, gathering.ANSWER_S = 15.0, 20.0
file, port, workers = sys.argv[1:]
exec(os.environ.get("BEFORE", ""))
sys.exit(run(ServeOptions(Path(file), port=int(port), workers=int(workers))))
"""
KEY = base64.b64encode(bytes(range(32))).decode()
STOP_S = 40


class Process:
    """A gateway that serves, and its process (the parent's, where it has workers)."""

    def __init__(self, running: Running, process: asyncio.subprocess.Process) -> None:
        self.running = running
        self.process = process
        self.pid = process.pid

    def workers(self) -> list[int]:
        """Process ids of the workers that live, by their age."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children]

    async def ready(self) -> bool:
        assert self.process.returncode is None, "the gateway did not start"
        with contextlib.suppress(httpx.TransportError):
            return (await self.running.get("/readyz")).status_code == 200
        return False


@contextlib.asynccontextmanager
async def gateway_process(
    folder: Path,
    content: dict[str, Any],
    *,
    key: str = KEY,
    workers: int = 1,
    environ: Mapping[str, str] | None = None,
    before: str = "",
) -> AsyncIterator[Process]:
    """A standalone gateway in a process of its own, which runs the code `before` first."""
    port = free_port()
    running = Running(folder / f"{port}.yaml", port)
    running.write(content)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", START, str(running.file), str(port), str(workers)),
        env=os.environ | {"VMCP_SESSION_HMAC_SECRET": key, "BEFORE": before} | dict(environ or {}),
    )
    served = Process(running, process)
    try:
        await until(served.ready)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(STOP_S):
            await process.wait()


@contextlib.contextmanager
def held_by_a_thread(manager: contextlib.AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What the manager gives, held in a thread and loop of its own, for several tests."""
    given: list[T] = []
    ready, leave = threading.Event(), threading.Event()

    async def hold() -> None:
        async with manager as value:
            given.append(value)
            ready.set()
            await asyncio.to_thread(leave.wait)

    thread = threading.Thread(target=asyncio.run, args=(hold(),), daemon=True)
    thread.start()
    assert ready.wait(2 * PATIENCE_S), "it did not start"
    try:
        yield given[0]
    finally:
        leave.set()
        thread.join(STOP_S)


@contextlib.asynccontextmanager
async def two_workers(folder: Path, content: dict[str, Any], **options: Any) -> AsyncIterator[Running]:
    """In place of `world.gateway`: the same gateway, served by two processes. Options are left at their defaults."""
    async with gateway_process(folder, content, workers=2) as served:
        yield served.running
