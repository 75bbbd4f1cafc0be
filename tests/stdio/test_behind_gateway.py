"""The proxy as a backend of the gateway, which offers it in both eras."""

import contextlib
import os
import signal
from pathlib import Path

import pytest
from mcp import Client, MCPError
from tests.gateway.asking import Person
from tests.gateway.world import config, entry, gateway, until
from tests.stdio.proxying import TALKING, proxy


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_client_of_either_era_calls_and_is_asked(tmp_path: Path, mode: str) -> None:
    person = Person()
    async with (
        proxy(TALKING) as stdio,
        gateway(tmp_path, config(entry("talking", stdio.url))) as running,
        person.client(running.url, mode) as client,
    ):
        await until(lambda: lists(client, "talking_elicit"))
        assert "accept blue" in str(await client.call_tool("talking_elicit", {}))
        assert "content" in str((await client.read_resource("talking://doc")).contents[0])


async def test_calls_go_on_after_the_server_was_killed(tmp_path: Path) -> None:
    async with (
        proxy(TALKING) as stdio,
        gateway(tmp_path, config(entry("talking", stdio.url))) as running,
        Client(running.url, mode="legacy", cache=None, read_timeout_seconds=30) as client,
    ):
        await until(lambda: lists(client, "talking_pid"))
        before = await pid(client)
        os.kill(before, signal.SIGKILL)

        async def moved() -> bool:
            # Until the gateway has seen that the server is back, it says why not.
            with contextlib.suppress(MCPError):
                return await pid(client) != before
            return False

        await until(moved)


async def lists(client: Client, tool: str) -> bool:
    return tool in {each.name for each in (await client.list_tools()).tools}


async def pid(client: Client) -> int:
    return int((await client.call_tool("talking_pid", {})).content[0].text)  # type: ignore[union-attr]
