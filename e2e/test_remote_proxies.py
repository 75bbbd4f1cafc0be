"""MCPRemoteProxies: endpoints that run elsewhere, with headers of ours."""

import json

import pytest
from mcp import Client

from e2e import fleet
from e2e.conftest import Images
from e2e.scenario import Scenario
from e2e.stage import Stage
from e2e.waiting import until

pytestmark = pytest.mark.usefixtures("operator")

_TOKEN = "e2e-token-that-nobody-may-see"


async def test_remote_proxy_gets_a_header_from_a_secret(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    forward = {"addHeadersFromSecret": [{"headerName": "X-Token", "valueSecretRef": {"name": "token", "key": "value"}}]}
    await stage.apply(fleet.group("tools"), fleet.secret("token", value=_TOKEN))
    await stage.backend("first", pulled.backend)
    await stage.apply(
        fleet.remote_proxy("remote", "tools", stage.namespace, service="first", headerForward=forward),
        fleet.gateway("tools", "tools"),
    )
    await scenario.until("Ready", lambda: stage.ready("tools"), limit_s=180)
    await stage.reachable("tools")

    async def header() -> str:
        async with Client(await stage.url("tools"), cache=None) as client:
            answer = await client.call_tool("remote_header", {"name": "x-token"})
        return answer.content[0].text if answer.content and answer.content[0].type == "text" else ""

    assert await until("the header arrives", header, limit_s=30) == _TOKEN
    kinds = "virtualmcpservers,mcpgroups,mcpremoteproxies,configmaps,deployments,pods,events"
    assert _TOKEN not in json.dumps(json.loads(await stage.kubectl("get", kinds, "-o", "json")))
    assert _TOKEN not in await stage.kubectl("logs", "-l", "app.kubernetes.io/instance=tools")
