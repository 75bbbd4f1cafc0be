"""The operator's own deaths, and the API server's: nothing is forgotten, and gateways go on."""

import asyncio
from datetime import UTC, datetime

import pytest

from e2e import faults
from e2e.conftest import Images
from e2e.load import calling
from e2e.release import Release
from e2e.scenario import Scenario
from e2e.stage import Stage
from e2e.waiting import until
from vmcp.api.status import CircuitState

pytestmark = pytest.mark.usefixtures("operator")

# Long enough that a circuit is still open when the operator is back.
_SLOW = {
    "healthCheckInterval": "4s",
    "healthCheckTimeout": "3s",
    "fastInterval": "1s",
    "unhealthyThreshold": 3,
    "circuitBreaker": {"enabled": True, "failureThreshold": 3, "timeout": "75s", "maxTimeout": "75s"},
}


async def test_operator_killed_while_a_circuit_is_open(
    stage: Stage, pulled: Images, operator: Release, scenario: Scenario
) -> None:
    await stage.serve(pulled.backend, "good", "bad", config={"operational": {"failureHandling": _SLOW}})
    await stage.kubectl("scale", "deployment/bad", "--replicas=0")
    before = await until("bad is out", lambda: stage.is_open("tools", "bad"), limit_s=120)
    assert before is not None
    assert before.circuit_open_until is not None

    for pod in await operator.pods(stage.api):
        faults.kill(stage.kind, pod)
    killed = datetime.now(UTC)
    await scenario.until(
        "all replicas killed: one leads", lambda: operator.leading_since(stage.api, killed), limit_s=120
    )
    after = await stage.seen("tools", "bad")
    assert after is not None
    assert after.circuit_breaker_state in (CircuitState.OPEN, CircuitState.HALF_OPEN), after
    assert after.circuit_last_changed == before.circuit_last_changed or after.transitions != before.transitions
    assert (after.transitions or [])[: len(before.transitions or [])] == before.transitions

    await stage.kubectl("scale", "deployment/bad", "--replicas=1")
    await scenario.until("backend back: circuit closed", lambda: stage.is_closed("tools", "bad"), limit_s=240)


async def test_leader_killed(stage: Stage, pulled: Images, operator: Release, scenario: Scenario) -> None:
    await stage.serve(pulled.backend, "good", "bad")
    leader = await operator.leader(stage.api)
    pods = await operator.pods(stage.api)
    assert len(pods) == 2
    (pod,) = (pod for pod in pods if leader.startswith(pod["metadata"]["name"]))
    async with calling(await stage.url("tools"), "good_echo", clients=2) as good:
        killed = datetime.now(UTC)
        faults.kill(stage.kind, pod)
        await stage.kubectl("scale", "deployment/bad", "--replicas=0")
        await scenario.until(
            "leader killed: another leads", lambda: operator.leading_since(stage.api, killed, leader), limit_s=60
        )
        await scenario.until("a backend that died meanwhile is out", lambda: stage.is_open("tools", "bad"), limit_s=120)
        scenario.note("leader killed: that status is written", (datetime.now(UTC) - killed).total_seconds(), limit=120)
        await good.more(10, limit_s=60)
    assert not good.dropped, good.dropped


async def test_api_server_restarted(stage: Stage, pulled: Images, operator: Release, scenario: Scenario) -> None:
    await stage.serve(pulled.backend, "good", "bad")
    async with calling(await stage.url("tools"), "good_echo", clients=2) as good:
        faults.kill_api_server(stage.kind)
        await asyncio.sleep(1)  # it is gone at once, but connections to it end only now
        await scenario.until("API server answers again", lambda: _answers(stage), limit_s=180)
        await good.more(20, limit_s=60)
        await until("kubectl works", lambda: _kubectl_works(stage), limit_s=60)
        await stage.kubectl("scale", "deployment/bad", "--replicas=0")
        await scenario.until("a backend that dies now is out", lambda: stage.is_open("tools", "bad"), limit_s=180)
        await stage.kubectl("scale", "deployment/bad", "--replicas=1")
        await scenario.until("and in use again", lambda: stage.is_closed("tools", "bad"), limit_s=180)
    assert not good.dropped, good.dropped
    scenario.note("calls meanwhile", good.answered, "answered, 0 dropped")


async def _answers(stage: Stage) -> bool:
    return (await stage.api.get("/readyz")).is_success


async def _kubectl_works(stage: Stage) -> bool:
    return bool(await stage.kubectl("get", "vmcp"))
