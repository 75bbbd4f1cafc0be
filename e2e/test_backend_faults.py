"""A backend of three fails in the ways that pods fail; the others notice nothing."""

import pytest

from e2e import client, faults
from e2e.conftest import Images
from e2e.load import calling
from e2e.scenario import Scenario
from e2e.stage import Stage

pytestmark = pytest.mark.usefixtures("operator")


async def test_pod_of_a_backend_deleted(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.serve(pulled.backend, "good", "bad")
    before = (await stage.pod_of("bad"))["metadata"]["name"]
    url = await stage.url("tools")
    async with calling(url, "good_echo", clients=2) as good:
        await stage.kubectl("delete", "pod", before, "--wait=true")
        await stage.backend_ready("bad")
        assert (await stage.pod_of("bad"))["metadata"]["name"] != before
        await scenario.until("new pod ready: backend in use", lambda: stage.is_closed("tools", "bad"), limit_s=90)
        await scenario.until("Ready", lambda: stage.ready("tools"), limit_s=90)
        await client.in_use(url, "bad_echo")
        async with calling(url, "bad_echo", clients=1) as bad:
            await bad.more(3, limit_s=60)
        await good.more(10, limit_s=60)
    assert not bad.dropped, bad.dropped
    assert not good.dropped, good.dropped
    scenario.note("calls to the other backend", good.answered, "answered, 0 dropped")


async def test_network_of_a_backend_cut(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.serve(pulled.backend, "good", "bad")
    async with calling(await stage.url("tools"), "good_echo", clients=2) as good:
        async with faults.cut_off(stage, await stage.pod_of("bad")):
            opened = await scenario.until("cut: circuit open", lambda: stage.is_open("tools", "bad"), limit_s=120)
            assert opened is not None
            assert opened.error_category in ("timeout", "connect"), opened
            await good.more(20, limit_s=60)
        await scenario.until("mended: circuit closed", lambda: stage.is_closed("tools", "bad"), limit_s=120)
    assert not good.dropped, good.dropped
    scenario.note("calls to the other backend", good.answered, "answered, 0 dropped")
    scenario.note("slowest of them", good.slowest_s, limit=10)


async def test_backend_scaled_to_0_and_back(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.serve(pulled.backend, "good", "bad")
    await stage.kubectl("scale", "deployment/bad", "--replicas=0")
    await scenario.until("scaled to 0: circuit open", lambda: stage.is_open("tools", "bad"), limit_s=120)
    await stage.kubectl("scale", "deployment/bad", "--replicas=1")
    await stage.backend_ready("bad")
    await scenario.until("scaled to 1: circuit closed", lambda: stage.is_closed("tools", "bad"), limit_s=120)
    await scenario.until("Ready", lambda: stage.ready("tools"), limit_s=60)
