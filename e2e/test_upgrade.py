"""Upgrades under load: from the previous chart, and of the operator alone."""

import asyncio
from pathlib import Path

from e2e import images
from e2e.conftest import Images
from e2e.kind import Kind
from e2e.load import calling
from e2e.release import Release, Values, packaged
from e2e.scenario import Scenario
from e2e.stage import Stage
from e2e.waiting import until


async def test_upgrade_from_the_previous_chart_drops_no_call(
    stage: Stage,
    cluster: Kind,
    pulled: Images,
    operator: Release,
    values: Values,
    scenario: Scenario,
    tmp_path: Path,
) -> None:
    operator.uninstall()
    images.retagged(cluster, pulled.repository, pulled.tag, f"previous-{pulled.tag}")
    previous = packaged(tmp_path, "0.0.1", {"logFormat": "text", "replicas": 1})
    operator.install({"image": {"repository": pulled.repository, "tag": f"previous-{pulled.tag}"}}, previous)
    await stage.serve(pulled.backend, "first", replicas=2, sessionAffinity="None")

    async def rolled() -> bool:
        pods = await stage.ready_pods("tools")
        return len(pods) == 2 and all(
            pod["spec"]["containers"][0]["image"].endswith(f":{pulled.tag}") for pod in await stage.pods("tools")
        )

    async with calling(await stage.url("tools"), "first_echo") as calls:
        await calls.more(20, limit_s=60)
        await asyncio.to_thread(operator.install, values)  # the calls go on meanwhile
        await scenario.until("new operator: gateways of the new image", rolled, limit_s=300)
        await until("Ready", lambda: stage.ready("tools"), limit_s=120)
        await calls.more(20, limit_s=60)
    scenario.note("calls answered", calls.answered, "")
    scenario.note("calls dropped", len(calls.dropped), "")
    assert not calls.dropped, calls.dropped


async def test_operator_upgrade_restarts_no_gateway(
    stage: Stage, pulled: Images, operator: Release, values: Values, scenario: Scenario
) -> None:
    operator.install(values)
    await stage.serve(pulled.backend, "first")
    gateways = {pod["metadata"]["uid"] for pod in await stage.pods("tools")}
    operators = {pod["metadata"]["uid"] for pod in await operator.pods(stage.api)}
    async with calling(await stage.url("tools"), "first_echo") as calls:
        upgraded = {**values, "podAnnotations": {"e2e/upgraded": "yes"}, "logFormat": "text"}
        await asyncio.to_thread(operator.install, upgraded)
        assert not operators & {pod["metadata"]["uid"] for pod in await operator.pods(stage.api) if _alive(pod)}
        await stage.backend_ready("first")
        await stage.kubectl("scale", "deployment/first", "--replicas=0")
        await scenario.until("new operator sees a backend die", lambda: stage.is_open("tools", "first"), limit_s=120)
    assert {pod["metadata"]["uid"] for pod in await stage.pods("tools")} == gateways
    assert all(c["restartCount"] == 0 for p in await stage.pods("tools") for c in p["status"]["containerStatuses"])
    assert calls.answered
    operator.install(values)


def _alive(pod: dict[str, dict[str, str]]) -> bool:
    return "deletionTimestamp" not in pod["metadata"]
