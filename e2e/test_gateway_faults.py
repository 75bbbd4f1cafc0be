"""Gateways die, roll and restart under load: sessions go on, and nothing that can be answered is dropped."""

import pytest

from e2e import faults
from e2e.conftest import Images
from e2e.load import by_hand, calling
from e2e.scenario import Scenario
from e2e.session import Session, opened
from e2e.stage import Stage
from e2e.waiting import until

pytestmark = pytest.mark.usefixtures("operator")


async def test_session_survives_the_death_of_either_gateway_pod(
    stage: Stage, pulled: Images, scenario: Scenario
) -> None:
    await stage.serve(pulled.backend, "first", replicas=2, sessionAffinity="None")
    await stage.two_pods_ready("tools")
    url = await stage.url("tools")
    async with opened(url) as session, calling(url, "first_echo", connect=by_hand) as calls:
        for number, victim in enumerate(await stage.ready_pods("tools"), start=1):
            await calls.more(20, limit_s=60)
            faults.kill(stage.kind, victim)
            await scenario.until(f"pod {number} killed: open session goes on", lambda: _goes_on(session), limit_s=60)
            await stage.two_pods_ready("tools")
        lost = len(calls.dropped)
        await calls.more(40, limit_s=60)
        assert len(calls.dropped) == lost, calls.dropped[lost:]
    scenario.note("calls answered", calls.answered, "")
    # What was under way in a pod, and what was sent there before the Service knew of its death.
    scenario.note("calls lost with the two pods", lost, "", limit=200)
    assert all("Connect" in each or "Read" in each or "Protocol" in each for each in calls.dropped), calls.dropped


@pytest.mark.parametrize("replicas", [1, 2])
async def test_rollout_under_load_drops_nothing(
    stage: Stage, pulled: Images, scenario: Scenario, replicas: int
) -> None:
    await stage.serve(pulled.backend, "first", replicas=replicas, sessionAffinity="None")
    await until("its pods are ready", lambda: _ready(stage, replicas), limit_s=180)
    before = {pod["metadata"]["name"] for pod in await stage.pods("tools")}

    async def replaced() -> bool:
        pods = await stage.all("pod", "app.kubernetes.io/instance=tools")
        ready = await stage.ready_pods("tools")
        return len(ready) == replicas == len(pods) and not before & {pod["metadata"]["name"] for pod in pods}

    async with calling(await stage.url("tools"), "first_echo", clients=4) as calls:
        await calls.more(20, limit_s=60)
        await stage.kubectl("rollout", "restart", "deployment/tools")
        await scenario.until("kubectl rollout restart: all pods are new", replaced, limit_s=300)
        await calls.more(20, limit_s=60)
    scenario.note("calls answered", calls.answered, "")
    scenario.note("calls dropped", len(calls.dropped), "")
    assert not calls.dropped, calls.dropped


async def _ready(stage: Stage, count: int) -> bool:
    return len(await stage.ready_pods("tools")) == count == len(await stage.pods("tools"))


async def _goes_on(session: Session) -> bool:
    """Whether the session's call is answered. Its own connection may have gone with the pod."""
    return await session.call("first_echo", text="still here") == "still here"
