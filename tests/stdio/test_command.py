"""The command line."""

import asyncio
import signal
import sys

import httpx
import pytest
from tests.gateway.world import Running, free_port, until
from tests.stdio.proxying import CRUDE, HERE, Speaker, proxy
from typer.testing import CliRunner

from vmcp.cli.main import app


async def test_it_starts_a_server_serves_it_and_takes_it_along_when_stopped() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "vmcp.cli", "stdio", f"--port={port}", "--call-timeout=30s", "--command", "--"),
        *(sys.executable, str(HERE / "crude.py")),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        running = Running(HERE, port)
        await until(lambda: ready(running))
        client = await Speaker.open(running)
        assert await client.call("echo", text="hello") == "hello"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            _, logged = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in logged
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --namespace and --pod, or --command -- program"),
        (["--command"], "needs a program"),
        (["--namespace=a", "--pod=b-0"], "is needed outside of a pod"),
        (["--call-timeout=soon", "--command", "--", "true"], "'soon' is not a duration"),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["stdio", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("\u2502", " ").split())


async def test_a_port_in_use_is_said() -> None:
    async with proxy(CRUDE) as running:
        port = running.origin.rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "vmcp.cli", "stdio", f"--port={port}", "--command", "--", "true"),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            _, said = await process.communicate()
        assert process.returncode == 2
        assert f"127.0.0.1:{port} cannot be listened on" in said.decode()


async def ready(running: Running) -> bool:
    try:
        return (await running.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
