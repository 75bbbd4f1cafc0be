"""More than one of everything on one small node."""

import asyncio
import time

import pytest
from mcp import Client

from e2e import client, fleet
from e2e.conftest import Images
from e2e.scenario import Scenario
from e2e.stage import Stage
from e2e.waiting import until

pytestmark = pytest.mark.usefixtures("operator")


async def test_two_gateways_on_one_group(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.serve(pulled.backend, "good", "bad")
    await stage.apply(fleet.gateway("second", "tools"))
    await scenario.until("second gateway Ready", lambda: stage.ready("second"), limit_s=180)
    await stage.reachable("second")
    await stage.kubectl("scale", "deployment/bad", "--replicas=0")
    for gateway in ("tools", "second"):

        async def out(gateway: str = gateway) -> bool:
            return await stage.is_open(gateway, "bad") is not None

        await scenario.until(f"bad is out at {gateway}", out, limit_s=120)
        url = await stage.url(gateway)
        await client.out_of_use(url, "bad_echo")
        assert "good_echo" in await client.listed(url)


async def test_ten_gateways_applied_at_once(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    names = [f"g{number}" for number in range(10)]
    await stage.apply(fleet.group("tools"), fleet.entry("first", "tools", stage.namespace))
    await stage.backend("first", pulled.backend)
    applied = time.monotonic()
    await stage.apply(*(fleet.gateway(name, "tools") for name in names))

    async def deployments() -> bool:
        return len(await stage.all("deployment", "app.kubernetes.io/name=virtualmcpserver")) == len(names)

    async def all_ready() -> bool:
        return all(await asyncio.gather(*(stage.ready(name) for name in names)))

    await scenario.until("10 Deployments exist", deployments, limit_s=60, since=applied)
    await scenario.until("10 gateways Ready", all_ready, limit_s=480, since=applied)
    for name in names:
        await stage.reachable(name)
        await client.in_use(await stage.url(name), "first_echo", name)


async def test_fifty_entries_served_by_one_pod(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    names = [f"e{number:02}" for number in range(50)]
    await stage.apply(fleet.group("tools"))
    await stage.apply(*(fleet.entry(name, "tools", stage.namespace, service="one") for name in names))
    await stage.backend("one", pulled.backend)
    applied = time.monotonic()
    await stage.apply(fleet.gateway("tools", "tools"))

    async def counted() -> bool:
        return (await stage.status("tools")).backend_count == len(names) and await stage.ready("tools")

    await scenario.until("50 of 50 in use", counted, limit_s=240, since=applied)
    await stage.reachable("tools")
    url = await stage.url("tools")
    async with Client(url, cache=None) as connected:
        listed = await until("tools of all 50", lambda: _listed(connected, len(names)), limit_s=60)
        assert {f"{name}_echo" for name in names} <= set(listed)
    await client.in_use(url, "e49_echo", "last")
    down = time.monotonic()
    await stage.kubectl("scale", "deployment/one", "--replicas=0")

    async def all_out() -> bool:
        backends = (await stage.status("tools")).discovered_backends or []
        return sum(backend.circuit_breaker_state == "open" for backend in backends) == len(names)

    await scenario.until("their pod gone: 50 circuits open", all_out, limit_s=180, since=down)
    assert await stage.phase("tools") == "Failed"


async def _listed(connected: Client, backends: int) -> list[str]:
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = await connected.list_tools(cursor=cursor)
        names += [tool.name for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            return names if len([name for name in names if name.endswith("_echo")]) == backends else []
