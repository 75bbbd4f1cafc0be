"""The aggregated lists: deterministic, cached through a blip, and told to clients exactly when they differ."""

import json

import pytest

from vmcp.api.aggregation import ConflictResolution, WorkloadTools
from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.gateway.catalog import Catalog
from vmcp.gateway.changes import Changed, Changes, Listener
from vmcp.gateway.listing import Item, Listed
from vmcp.gateway.rules import Rules
from vmcp.gateway.upstream import Upstream
from vmcp.health.snapshot import Circuit, Health, Snapshot
from vmcp.mcp.backend import Address, Backend
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport


def upstream(name: str) -> Upstream:
    url = f"http://{name}/mcp"
    config = GatewayBackend.model_validate({"name": name, "url": url, "transport": "streamable-http"})
    transport = HttpTransport(guard=AddressGuard())
    backend = Backend(transport, Address(url), client_name="t", client_version="0")
    return Upstream(config, backend, fingerprint=f"f-{name}", timeout_s=1)


def items(listed: Listed, *own: str) -> tuple[Item, ...]:
    return tuple(Item(name, json.dumps({listed.key: name}).encode()) for name in own)


class World:
    def __init__(self) -> None:
        self.changes = Changes()
        self.listener = Listener()
        self.changes.add(self.listener)
        self.catalog = Catalog(self.changes)
        self.upstreams = {name: upstream(name) for name in ("b", "a")}
        self.catalog.configure(self.upstreams, Rules())

    def judge(self, name: str, health: Health, circuit: Circuit = Circuit.CLOSED) -> None:
        snapshot = Snapshot(name=name, url="", fingerprint=f"f-{name}", health=health, circuit=circuit)
        if self.upstreams[name].see(snapshot):
            self.catalog.flipped(name)

    def listed(self, listed: Listed) -> list[str]:
        page = json.loads(self.catalog.page(listed) + b"}")
        return [item[listed.key] for item in page[listed.member]]

    async def told(self) -> set[Changed]:
        return set(await self.listener.next(0.01))


@pytest.fixture
def world() -> World:
    return World()


async def test_lists_are_in_the_order_of_backends_whoever_answers_first(world: World) -> None:
    world.catalog.put("b", Listed.TOOLS, items(Listed.TOOLS, "z", "y"))
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "y", "x"))
    assert world.listed(Listed.TOOLS) == ["a_y", "a_x", "b_z", "b_y"]


async def test_a_backend_that_is_out_is_not_listed_and_its_names_are_kept(world: World) -> None:
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "x"))
    world.judge("a", Health.UNHEALTHY, Circuit.OPEN)
    assert world.listed(Listed.TOOLS) == []
    route = world.catalog.route(Listed.TOOLS, "a_x")
    assert route is not None
    assert not route.upstream.usable
    world.judge("a", Health.HEALTHY)
    assert world.listed(Listed.TOOLS) == ["a_x"]


@pytest.mark.parametrize(
    ("health", "circuit", "used"),
    [
        (Health.HEALTHY, Circuit.CLOSED, True),
        (Health.DEGRADED, Circuit.CLOSED, True),
        (Health.UNKNOWN, Circuit.CLOSED, True),
        (Health.UNHEALTHY, Circuit.CLOSED, False),
        (Health.UNAUTHENTICATED, Circuit.CLOSED, False),
        (Health.DEGRADED, Circuit.HALF_OPEN, False),
        (Health.UNHEALTHY, Circuit.OPEN, False),
    ],
)
async def test_who_is_listed(world: World, health: Health, circuit: Circuit, used: bool) -> None:
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "x"))
    world.judge("a", health, circuit)
    assert world.listed(Listed.TOOLS) == (["a_x"] if used else [])


async def test_clients_are_told_when_a_list_differs_and_only_then(world: World) -> None:
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "x"))
    assert await world.told() == {Changed.TOOLS}
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "x"))
    world.catalog.put("a", Listed.PROMPTS, ())
    assert await world.told() == set()
    world.catalog.put("a", Listed.TEMPLATES, items(Listed.TEMPLATES, "t://{x}"))
    assert await world.told() == {Changed.RESOURCES}


async def test_a_flip_is_told_for_the_kinds_that_the_backend_has(world: World) -> None:
    world.catalog.put("a", Listed.PROMPTS, items(Listed.PROMPTS, "p"))
    world.catalog.put("a", Listed.RESOURCES, items(Listed.RESOURCES, "demo://a"))
    await world.told()
    world.judge("a", Health.UNHEALTHY)
    assert await world.told() == {Changed.PROMPTS, Changed.RESOURCES}
    world.judge("b", Health.UNHEALTHY)
    assert await world.told() == set()


async def test_a_uri_stays_with_its_first_backend_while_that_is_out(world: World) -> None:
    for name in ("a", "b"):
        world.catalog.put(name, Listed.RESOURCES, items(Listed.RESOURCES, "demo://shared"))
    world.judge("a", Health.UNHEALTHY)
    route = world.catalog.resource("demo://shared")
    assert route is not None
    assert route.upstream.name == "a"
    assert world.listed(Listed.RESOURCES) == []


async def test_a_removed_backend_takes_its_lists_along(world: World) -> None:
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "x"))
    await world.told()
    world.catalog.configure({"b": world.upstreams["b"]}, Rules())
    assert world.listed(Listed.TOOLS) == []
    assert world.catalog.route(Listed.TOOLS, "a_x") is None
    assert await world.told() == {Changed.TOOLS}


async def test_a_name_of_a_backend_that_never_listed_is_known_by_its_prefix(world: World) -> None:
    found = world.catalog.unlisted(Listed.TOOLS, "a_anything")
    assert found is world.upstreams["a"]
    world.catalog.put("a", Listed.TOOLS, ())
    assert world.catalog.unlisted(Listed.TOOLS, "a_anything") is None
    assert world.catalog.unlisted(Listed.TOOLS, "c_anything") is None


async def test_a_renamed_item_keeps_everything_else_as_it_came() -> None:
    item = Item("x", b'{"title":"\\u00e9","n":1.0,"name":"x","deep":{ "name" : "x" }}')
    shown = item.shown_as("name", "a_x", {})
    assert shown == b'{"title":"\\u00e9","n":1.0,"name":"a_x","deep":{ "name" : "x" }}'
    assert item.shown_as("name", "x", {}) is item.raw


async def test_a_change_that_no_client_sees_is_not_told(world: World) -> None:
    entry = WorkloadTools(workload="a", filter=["x"])
    world.catalog.configure(world.upstreams, Rules(entries={"a": entry}))
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "x"))
    assert await world.told() == {Changed.TOOLS}
    world.catalog.put("a", Listed.TOOLS, items(Listed.TOOLS, "x", "hidden"))
    assert await world.told() == set()
    world.catalog.configure(world.upstreams, Rules())
    assert await world.told() == {Changed.TOOLS}
    assert world.listed(Listed.TOOLS) == ["a_x", "a_hidden"]


async def test_a_hidden_tool_is_unknown_even_before_its_backend_listed(world: World) -> None:
    entry = WorkloadTools.model_validate(
        {"workload": "a", "filter": ["x", "y"], "overrides": {"y": {"name": "shown"}, "z": {"name": "veiled"}}}
    )
    world.catalog.configure(world.upstreams, Rules(entries={"a": entry}))
    assert world.catalog.unlisted(Listed.TOOLS, "a_x") is world.upstreams["a"]
    assert world.catalog.unlisted(Listed.TOOLS, "a_shown") is world.upstreams["a"]
    for name in ("a_y", "a_z", "a_veiled", "a_hidden"):
        assert world.catalog.unlisted(Listed.TOOLS, name) is None


async def test_an_item_that_has_lost_its_name_is_counted_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.catalog.configure(world.upstreams, Rules(resolution=ConflictResolution.MANUAL))
    for name in ("b", "a"):
        world.catalog.put(name, Listed.TOOLS, items(Listed.TOOLS, "search", f"of_{name}"))
    assert world.listed(Listed.TOOLS) == ["search", "of_a", "of_b"]
    assert world.catalog.left_out()["tools"] == 1
    assert "'search' of b ('search' is 'search' of a)" in caplog.text
    route = world.catalog.route(Listed.TOOLS, "search")
    assert route is not None
    assert route.upstream.name == "a"
