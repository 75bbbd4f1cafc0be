"""MCPServers that the operator runs: by port, and by stdin and stdout through a proxy."""

import time

import pytest

from e2e import client, faults, fleet
from e2e.conftest import Images
from e2e.fleet import Manifest
from e2e.scenario import Scenario
from e2e.stage import Stage, is_ready
from e2e.waiting import until

pytestmark = pytest.mark.usefixtures("operator")


async def test_broken_image_of_an_mcpserver_and_back(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.apply(fleet.group("tools"), fleet.server("run", "tools", pulled.backend))
    await scenario.until("MCPServer Ready", lambda: _phase(stage, "Ready"), limit_s=180)
    await stage.apply(fleet.gateway("tools", "tools"))
    await until("gateway Ready", lambda: stage.ready("tools"), limit_s=180)
    await stage.reachable("tools")
    await client.in_use(await stage.url("tools"), "run_echo")

    await _image(stage, faults.BROKEN_IMAGE)
    await scenario.until("image broken: phase and reason of the kubelet", lambda: _told(stage), limit_s=180)
    await scenario.until("unavailable, circuit open", lambda: stage.is_open("tools", "run"), limit_s=120)
    await client.out_of_use(await stage.url("tools"), "run_echo")

    await _image(stage, pulled.backend)
    await scenario.until("image mended: MCPServer Ready", lambda: _phase(stage, "Ready"), limit_s=180)
    closed = await scenario.until("circuit closed", lambda: stage.is_closed("tools", "run"), limit_s=120)
    assert closed is not None
    for step in closed.transitions or []:
        print(f"{step.time:%T} {step.before} -> {step.after}: {step.reason}")
    await client.in_use(await stage.url("tools"), "run_echo", "again")


@pytest.mark.parametrize("transport", ["sse", "streamable-http"])
async def test_transports_by_port(stage: Stage, pulled: Images, scenario: Scenario, transport: str) -> None:
    server = fleet.server(
        "run", "tools", pulled.backend, transport=transport, env=[{"name": "MCP_ERA", "value": "legacy"}]
    )
    await stage.apply(fleet.group("tools"), server, fleet.gateway("tools", "tools"))
    await scenario.until(f"{transport}: all Ready", lambda: stage.ready("tools"), limit_s=240)
    await stage.reachable("tools")
    await client.in_use(await stage.url("tools"), "run_echo", transport)


async def test_stdio_and_a_broken_attach(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.apply(fleet.group("tools"), fleet.server("run", "tools", pulled.backend, transport="stdio"))
    await scenario.until("stdio MCPServer Ready", lambda: _phase(stage, "Ready"), limit_s=240)
    await stage.apply(fleet.gateway("tools", "tools"))
    await until("gateway Ready", lambda: stage.ready("tools"), limit_s=180)
    await stage.reachable("tools")
    await client.in_use(await stage.url("tools"), "run_echo", "through stdin")

    restarts = await _restarts(stage)
    (proxy,) = [pod for pod in await _proxies(stage) if is_ready(pod)]
    broken = time.monotonic()
    faults.kill(stage.kind, proxy)

    async def restarted() -> bool:
        return await _restarts(stage) > restarts

    await scenario.until("attach broken: container restarted", restarted, limit_s=120, since=broken)
    await scenario.until("tool answers again", lambda: _echoes(stage, "new"), limit_s=180, since=broken)
    await until("circuit closed", lambda: stage.is_closed("tools", "run"), limit_s=120)

    by_port = fleet.server("run", "tools", pulled.backend)
    changed = time.monotonic()
    await stage.apply(by_port)
    await scenario.until("stdio to HTTP: Ready", lambda: _phase(stage, "Ready"), limit_s=180, since=changed)

    async def proxy_gone() -> bool:
        return await stage.get("deployment", "run-proxy") is None

    await until("the proxy is gone", proxy_gone, limit_s=60)
    await until("tool answers by HTTP", lambda: _echoes(stage, "by port"), limit_s=120)


async def test_what_protects_and_is_not_built_stops_the_server(
    stage: Stage, pulled: Images, scenario: Scenario
) -> None:
    await stage.apply(fleet.group("tools"), fleet.server("run", "tools", pulled.backend))
    await until("MCPServer Ready", lambda: _phase(stage, "Ready"), limit_s=180)
    protected = fleet.server("run", "tools", pulled.backend, authzConfigRef={"name": "policies"})
    await stage.apply(protected)

    async def stopped() -> bool:
        gone = await stage.get("statefulset", "run") is None and await stage.get("service", "mcp-run-proxy") is None
        return gone and await _phase(stage, "Failed")

    await scenario.until("authorization asked for: nothing runs", stopped, limit_s=60)


async def _phase(stage: Stage, wanted: str) -> bool:
    server = await stage.get("mcpserver", "run") or {}
    status = server.get("status", {})
    return bool(status.get("phase") == wanted and status.get("observedGeneration") == server["metadata"]["generation"])


async def _told(stage: Stage) -> str:
    """The condition's reason, once it is the kubelet's."""
    server = await stage.get("mcpserver", "run") or {}
    for condition in server.get("status", {}).get("conditions", []):
        reason = str(condition["reason"])
        if condition["type"] == "Ready" and reason in ("ErrImagePull", "ImagePullBackOff"):
            return reason if server["status"]["phase"] == "Failed" else ""
    return ""


async def _image(stage: Stage, image: str) -> None:
    await stage.kubectl("patch", "mcpserver", "run", "--type=merge", f'--patch={{"spec":{{"image":"{image}"}}}}')


async def _proxies(stage: Stage) -> list[Manifest]:
    pods = await stage.all("pod")
    return [pod for pod in pods if pod["metadata"]["name"].startswith("run-proxy-")]


async def _restarts(stage: Stage) -> int:
    pod = await stage.get("pod", "run-0") or {}
    return sum(container["restartCount"] for container in pod.get("status", {}).get("containerStatuses", []))


async def _echoes(stage: Stage, text: str) -> bool:
    return await client.echoes(await stage.url("tools"), "run_echo", text)
