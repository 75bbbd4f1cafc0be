"""A call ends once, whoever gives it up and whenever; and nothing is kept of it."""

import asyncio
from pathlib import Path

import pytest
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import backend, config, entry, free_port, gateway, until

from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.gateway.answer import Answer
from vmcp.gateway.ask import Ask
from vmcp.gateway.catalog import Catalog, Route
from vmcp.gateway.changes import Changes
from vmcp.gateway.dialogue import Dialogues
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.flight import Underway
from vmcp.gateway.links import Links
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.outside import Outside
from vmcp.gateway.router import Router
from vmcp.gateway.upstream import Upstream
from vmcp.mcp.backend import Address, Backend, BackendError, Era
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.mcp.jsonrpc import JsonRpcError


class SlowReader(Answer):
    """A client that takes its answer when the test lets it."""

    def __init__(self) -> None:
        self.ident, self.era = b"1", Era.LEGACY
        self.owed, self.reads = asyncio.Event(), asyncio.Event()
        self.told: list[JsonRpcError] = []

    async def event(self, message: bytes) -> None:
        raise AssertionError("nothing comes before the answer")

    async def result(self, result: bytes) -> None:
        raise AssertionError("there is no result")

    async def error(self, error: JsonRpcError) -> None:
        self.owed.set()
        await self.reads.wait()
        self.told.append(error)


class Deaf:
    """Hears nothing of how calls go."""

    def reached(self, upstream: Upstream) -> None: ...

    def failed(self, upstream: Upstream, error: BackendError) -> None: ...


async def test_a_call_that_is_given_up_while_its_error_is_told_is_told_that_error() -> None:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
    url = f"http://127.0.0.1:{free_port()}/mcp"
    nobody = Backend(transport, Address(url), client_name="t", client_version="0")
    upstream = Upstream(GatewayBackend.model_validate(entry("a", url)), nobody, fingerprint="f", timeout_s=30)
    metrics, catalog = Metrics(), Catalog(Changes())
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        fleet = Fleet(transport=transport, catalog=catalog, metrics=metrics, tasks=tasks, version="0")
        links = Links(transport=transport, tasks=tasks, version="0")
        outside = Outside(links=links, stale=fleet.stale, route=catalog.owner, tasks=tasks, upstream=lambda name: None)
        dialogues = Dialogues(link=outside.link, passive=Deaf(), stale=fleet.stale, tasks=tasks)
        router = Router(
            fleet=fleet, catalog=catalog, metrics=metrics, dialogues=dialogues, own=outside.read, tasks=tasks
        )
        client = SlowReader()
        flights: dict[bytes, Underway] = {}
        ask = Ask("tools/call", b"{}", client, flights=flights)
        call = tasks.create_task(router.forward(ask, Route(upstream, "x", b"")))
        await client.owed.wait()
        for flight in tuple(flights.values()):
            flight.cancel("by the client")
        router.give_up_calls("the gateway is stopping")
        client.reads.set()
        await call
        assert [error.code for error in client.told] == [-32003]


async def test_nothing_waits_for_a_call_that_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmcp.gateway.patience.KEEP_ALIVE_S", 3600.0)

    def waiting() -> int:
        return sum("_keep_alive" in repr(task) for task in asyncio.all_tasks())

    with backend("a", "legacy") as a:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            client = await LegacySpeaker.open(running)

            async def listed() -> bool:
                return "a_slow" in (await client.ask("tools/list")).text

            await until(listed)
            answer = await client.ask("tools/call", {"name": "a_slow", "arguments": {"seconds": 1}})
            assert "slept" in answer.text
            await until(lambda: not waiting())
