"""A server started by ourselves, for a laptop and for tests."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Final

from vmcp.stdio.attach import Attach, AttachError, Source
from vmcp.stdio.stderr import Stderr

CHUNK_BYTES: Final = 64 * 1024
GRACE_S: Final = 2.0
"""From the end of its stdin to SIGTERM, and from there to SIGKILL."""
KILLED_S: Final = 30.0
"""A killed process is gone within this, on the busiest machine."""


class Command(Source):
    """A command line, started for each life of the server."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    async def open(self) -> Attach:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        try:
            # A group of its own: a launcher's children end with it, and Ctrl-C is for us alone.
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise AttachError(f"{self._command[0]} cannot be started ({error.strerror})") from None
        return _Process(process)


class _Process(Attach):
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._complaints = asyncio.create_task(_log(process))

    async def output(self) -> AsyncGenerator[bytes, None]:
        """Its stdout."""
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(CHUNK_BYTES):
            yield chunk
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                status = await self._process.wait()
                raise AttachError(f"the server ended with status {status}")

    async def write(self, data: bytes) -> None:
        """To its stdin."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (OSError, RuntimeError):
            # uvloop has a RuntimeError for a pipe that it has closed, since its other end is gone.
            raise AttachError("the server reads no more") from None

    async def close(self) -> None:
        """End it, gently first."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(TimeoutError):
                    async with asyncio.timeout(GRACE_S):
                        await self._process.wait()
                # Also what it started and left behind.
                self._signal(number)
        except asyncio.CancelledError:
            self._signal(signal.SIGKILL)
            raise
        with suppress(TimeoutError):
            async with asyncio.timeout(KILLED_S):
                await self._process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                # What it said last may say why it ended.
                await self._complaints
        self._complaints.cancel()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


async def _log(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    stderr = Stderr()
    while chunk := await process.stderr.read(CHUNK_BYTES):
        stderr.feed(chunk)
