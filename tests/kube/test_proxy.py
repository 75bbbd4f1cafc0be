"""The API server behind a proxy that the environment names, as `kubectl` reaches it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from vmcp.api.kinds import VIRTUAL_MCP_SERVER
from vmcp.kube.client import connect
from vmcp_dev.controlplane import ControlPlane


class Proxy:
    """An HTTP proxy that opens tunnels, and remembers where to."""

    def __init__(self) -> None:
        self.asked_for: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        verb, target = request.decode().split()[:2]
        assert verb == "CONNECT"
        self.asked_for.append(target)
        host, _, port = target.rpartition(":")
        behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pass_on(reader, behind_writer), _pass_on(behind_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def proxy() -> AsyncIterator[tuple[Proxy, str]]:
    made = Proxy()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        yield made, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _lists(control_plane: ControlPlane) -> None:
    async with connect(str(control_plane.kubeconfig)) as kube:
        await kube.list(VIRTUAL_MCP_SERVER)


async def test_the_proxy_of_the_environment_is_used(
    control_plane: ControlPlane, crds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy() as (seen, url):
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        await _lists(control_plane)
    assert seen.asked_for == [control_plane.server.removeprefix("https://")]


async def test_a_server_that_the_environment_exempts_is_reached_directly(
    control_plane: ControlPlane, crds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy() as (seen, url):
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await _lists(control_plane)
    assert seen.asked_for == []
