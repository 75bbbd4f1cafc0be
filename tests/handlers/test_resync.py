"""Lists put the cache right: what was missed is found, what is newer than the list is kept."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from tests.handlers.waiting import until
from tests.reconcile.objects import NAMESPACE, JsonObject, gate, group, server

from vmcp.api.kinds import MCP_GROUP, MCP_SERVER, VIRTUAL_MCP_SERVER, Kind
from vmcp.handlers import owned
from vmcp.handlers import resync as module
from vmcp.handlers.resync import Resync
from vmcp.kube.client import Kube, KubeError, NotFound
from vmcp.reconcile.cache import Cache, Key


class Lists(Kube):
    """Answers lists from `objects`; the first `refusals` of them are refused."""

    def __init__(self) -> None:
        self.objects: dict[Kind, list[JsonObject]] = {}
        self.refusals = 0
        self.asked: list[tuple[str, str | None, str]] = []
        self.before_answer: Callable[[Kind], None] = lambda kind: None
        self.unknown: set[Kind] = set()

    async def pages(
        self, kind: Kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[list[JsonObject]]:
        self.asked.append((kind.plural, namespace, label_selector))
        if self.refusals:
            self.refusals -= 1
            raise KubeError(0, "NoAnswer", "no answer from the API server")
        if kind in self.unknown:
            raise NotFound(404, "NotFound", "no such kind")
        answer = list(self.objects.get(kind, ()))
        await asyncio.sleep(0)
        self.before_answer(kind)
        yield answer


class World:
    def __init__(self, *, namespaces: tuple[str, ...] = (), with_servers: bool = False) -> None:
        self.kube = Lists()
        self.kube.objects = {VIRTUAL_MCP_SERVER: [gate()], MCP_GROUP: [group()], MCP_SERVER: [server()]}
        self.cache = Cache()
        self.keys: list[str] = []
        self.resync = Resync(
            kube=self.kube,
            cache=self.cache,
            add=lambda key: self.keys.append(str(key)),
            namespaces=namespaces,
            with_servers=with_servers,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.resync.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def has(self, kind: Kind, name: str) -> bool:
        return self.cache.get(kind, NAMESPACE, name) is not None


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_S", 0.0)
    monkeypatch.setattr(module, "RETRY_S", 0.0)


async def test_at_first_everything_there_is_is_asked_for() -> None:
    world = World()
    await world.resync.fill()
    assert world.has(MCP_SERVER, "search")
    assert {"virtualmcpservers/prod/gate", "mcpgroups/prod/team"} <= set(world.keys)


async def test_only_what_is_owned_is_listed_of_kinds_that_are_not_ours() -> None:
    world = World()
    await world.resync.fill()
    selectors = {plural: selector for plural, _, selector in world.kube.asked}
    assert selectors["virtualmcpservers"] == ""
    assert selectors["configmaps"] == selectors["pods"] == "app.kubernetes.io/name=virtualmcpserver"


async def test_stateful_sets_are_asked_for_only_by_an_operator_that_runs_mcpservers() -> None:
    for with_servers in (False, True):
        world = World(with_servers=with_servers)
        await world.resync.fill()
        selectors = {plural: selector for plural, _, selector in world.kube.asked}
        assert ("statefulsets" in selectors) is with_servers
        assert ("mcpserver-proxy" in selectors["pods"]) is with_servers


async def test_only_the_namespaces_that_are_served_are_listed() -> None:
    world = World(namespaces=("blue", "green"))
    await world.resync.fill()
    assert {namespace for _, namespace, _ in world.kube.asked} == {"blue", "green"}


async def test_an_api_server_that_does_not_answer_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.kube.refusals = 3
    with caplog.at_level(logging.WARNING):
        await world.resync.fill()
    assert world.has(VIRTUAL_MCP_SERVER, "gate")
    assert "cannot list virtualmcpservers" in caplog.messages[0]


async def test_a_kind_that_the_api_server_does_not_know_is_said_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.kube.unknown = {MCP_SERVER}
    await world.resync.fill()
    assert "install the CRDs" in caplog.text
    assert world.has(VIRTUAL_MCP_SERVER, "gate")


async def test_what_was_deleted_while_nobody_watched_concerns_those_who_used_it() -> None:
    world = World()
    await world.resync.fill()
    world.keys.clear()
    async with world.running():
        world.kube.objects[MCP_SERVER] = []
        world.resync.listed()
        await until(lambda: not world.has(MCP_SERVER, "search"))
        await until(lambda: "virtualmcpservers/prod/gate" in world.keys)


async def test_the_last_virtual_mcp_server_deleted_while_nobody_watched_is_reconciled_away() -> None:
    world = World()
    await world.resync.fill()
    world.keys.clear()
    async with world.running():
        world.kube.objects[VIRTUAL_MCP_SERVER] = []
        world.resync.listed()
        await until(lambda: "virtualmcpservers/prod/gate" in world.keys)


async def test_a_change_that_a_list_shows_first_is_reconciled() -> None:
    """The event that comes after it tells nothing new, so it must not be needed."""
    world = World()
    await world.resync.fill()
    world.keys.clear()
    async with world.running():
        moved = server() | {"spec": {"image": "x", "groupRef": {"name": "others"}}}
        world.kube.objects[MCP_SERVER] = [moved | {"metadata": moved["metadata"] | {"resourceVersion": "2"}}]
        world.resync.listed()
        await until(lambda: "mcpgroups/prod/others" in world.keys)
    assert {"mcpgroups/prod/team", "virtualmcpservers/prod/gate"} <= set(world.keys)


async def test_nothing_is_reconciled_when_a_list_shows_what_is_known() -> None:
    world = World()
    await world.resync.fill()
    world.keys.clear()
    world.kube.asked.clear()
    async with world.running():
        world.resync.listed()
        await until(lambda: len(world.kube.asked) >= len(module.OURS) + len(owned.KINDS))
        await asyncio.sleep(0.01)
    assert world.keys == []


async def test_what_was_created_while_a_list_was_read_stays() -> None:
    world = World()
    await world.resync.fill()

    def created(kind: Kind) -> None:
        if kind == MCP_SERVER:
            world.cache.put(MCP_SERVER, server("created"))
            world.cache.drop(Key.of(MCP_SERVER, server("search")))

    world.kube.before_answer = created
    world.kube.asked.clear()
    await world.resync.fill()
    assert world.has(MCP_SERVER, "created")
    assert not world.has(MCP_SERVER, "search")


async def test_what_is_told_while_lists_are_read_leads_to_another_round() -> None:
    world = World()
    rounds = []

    def told(kind: Kind) -> None:
        if kind == VIRTUAL_MCP_SERVER:
            rounds.append(kind)
            if len(rounds) < 3:
                world.resync.listed()

    world.kube.before_answer = told
    async with world.running():
        world.resync.listed()
        await until(lambda: len(rounds) == 3)


async def test_every_so_often_it_looks_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.01)
    world = World()
    async with world.running():
        await until(lambda: world.has(MCP_SERVER, "search"))
