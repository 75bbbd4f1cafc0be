"""Remote endpoints as members of a group: MCPRemoteProxies, and headers whose values are in Secrets."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp import Client
from tests.gateway.scripted import Scripted
from tests.gateway.world import BackendServer
from tests.integration.stage import (
    GROUP,
    PATIENCE_S,
    OperatorProcess,
    Stage,
    entry,
    eventually,
    gateway,
    group,
    mcp_backends,
    until_listed,
    with_handling,
)

from vmcp.health.tracker import WITHHELD
from vmcp_dev.runnerthread import RunnerThread

KEY = {"addHeadersFromSecret": [{"headerName": "X-Key", "valueSecretRef": {"name": "keys", "key": "alpha"}}]}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"alpha": "s3cret\n"}}


def proxy(name: str, url: str, **spec: Any) -> dict[str, Any]:
    fields = {"groupRef": {"name": "tools"}, "remoteUrl": url, **spec}
    return {"apiVersion": GROUP, "kind": "MCPRemoteProxy", "metadata": {"name": name}, "spec": fields}


class Keyed:
    """Answers 401 to whoever has not the key."""

    def __init__(self) -> None:
        self._server = Scripted({"tools/call": b'{"content":[{"type":"text","text":"in"}]}'}, modern=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"x-key", b"s3cret") not in scope["headers"]:
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._server(scope, receive, send)


@contextmanager
def keyed_backend() -> Iterator[BackendServer]:
    server = BackendServer(Keyed)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_a_remote_proxy_is_a_backend_at_its_remote_url(stage: Stage, operator: OperatorProcess) -> None:
    with mcp_backends("alpha") as backends:
        url = backends["alpha"].url
        stage.apply(group(), proxy("alpha", url, allowPrivateEndpoint=True, replicas=2), gateway())
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        assert stage.backend("front", "alpha")["url"] == url
        eventually(lambda: stage.get("mcpgroup", "tools")["status"]["remoteProxies"] == ["alpha"])
        assert stage.get("mcpgroup", "tools")["status"]["remoteProxyCount"] == 1
        status = eventually(lambda: stage.get("mcpremoteproxy", "alpha")["status"])
        assert (status["phase"], status["url"]) == ("Ready", url)
        conditions = {each["type"]: each for each in status["conditions"]}
        assert conditions["Ready"]["status"] == "True"
        assert "spec.replicas" in conditions["FeaturesSupported"]["message"]
        assert not stage.exists("deployment", "alpha")

        stage.delete("mcpremoteproxy", "alpha")
        eventually(lambda: stage.backend_names("front") == [])
        eventually(lambda: stage.get("mcpgroup", "tools")["status"]["remoteProxyCount"] == 0)


def test_a_remote_proxy_that_protects_by_what_is_not_built_says_so_and_is_no_backend(
    stage: Stage, operator: OperatorProcess
) -> None:
    oidc = {"name": "corp", "audience": "alpha"}
    stage.apply(group(), proxy("alpha", "https://mcp.example.com/mcp", oidcConfigRef=oidc), gateway())
    status = eventually(lambda: stage.get("mcpremoteproxy", "alpha")["status"])
    assert status["phase"] == "Failed"
    assert "spec.oidcConfigRef: is not supported" in status["message"]
    assert "url" not in status
    discovered = eventually(lambda: (c := stage.condition("front", "BackendsDiscovered"))["status"] == "False" and c)
    assert "MCPRemoteProxy alpha is left out" in discovered["message"]


def test_a_header_that_is_the_gateways_own_makes_an_entry_invalid(stage: Stage, operator: OperatorProcess) -> None:
    forward = {"addPlaintextHeaders": {"Mcp-Session-Id": "1"}}
    stage.apply(group(), entry("alpha", "https://mcp.example.com/mcp", headerForward=forward))
    eventually(lambda: stage.get("mcpserverentry", "alpha")["status"]["phase"] == "Failed")
    (valid,) = stage.get("mcpserverentry", "alpha")["status"]["conditions"]
    assert "Mcp-Session-Id belongs to HTTP or to MCP" in valid["message"]


async def test_a_secret_header_reaches_the_backend_and_is_seen_nowhere_else(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with keyed_backend() as server:
        stage.apply(SECRET, group(), entry("alpha", server.url, headerForward=KEY), gateway())
        # The operator has not the key: what asks for it is alive.
        await asyncio.to_thread(eventually, lambda: stage.backend("front", "alpha")["status"] == "ready")
        await asyncio.to_thread(eventually, lambda: stage.status("front")["phase"] == "Ready")
        async with Client(f"{local_runner.wait_address(stage.namespace, 'front')}/mcp", cache=None) as client:
            await until_listed(client, "alpha_echo")
            answer = await client.call_tool("alpha_echo", {})
            assert answer.content[0].text == "in"  # type: ignore[union-attr]
    for kind in ("vmcp", "mcpserverentry", "configmap", "deployment", "pod", "events"):
        assert "s3cret" not in stage.kubectl("-n", stage.namespace, "get", kind, "-o", "yaml")
    assert "s3cret" not in operator.log.read_text()


def out_of_use(stage: Stage) -> dict[str, Any] | None:
    """The status, if by it `alpha` is not used for want of its header."""
    status = stage.status("front")
    said = {backend["name"]: backend["status"] for backend in status["discoveredBackends"]}
    return status if said["alpha"] == "unauthenticated" else None


async def answers(local_runner: RunnerThread, stage: Stage) -> bool:
    """Whether `alpha` is called and answers; gateways may be on their way in and out."""
    try:
        address = local_runner.wait_address(stage.namespace, "front")
        async with asyncio.timeout(10), Client(f"{address}/mcp", cache=None) as client:
            answer = await client.call_tool("alpha_echo", {})
    except Exception:
        await asyncio.sleep(0.5)
        return False
    return not answer.is_error


async def test_a_missing_secret_takes_out_its_backend_and_no_other(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with keyed_backend() as server, mcp_backends("beta") as backends:
        stage.apply(
            group(),
            entry("alpha", server.url, headerForward=KEY),
            entry("beta", backends["beta"].url),
            with_handling(gateway(), statusReportingInterval="5s"),
        )
        await asyncio.to_thread(eventually, lambda: stage.backend("front", "beta")["status"] == "ready")
        async with Client(f"{local_runner.wait_address(stage.namespace, 'front')}/mcp", cache=None) as client:
            await until_listed(client, "beta_echo")
        # The operator may not read Secrets: the gateway says that it lacks the value.
        told = await asyncio.to_thread(eventually, lambda: (s := out_of_use(stage)) and s["phase"] == "Degraded" and s)
        assert told["backendCount"] == 1
        assert WITHHELD in stage.backend("front", "alpha")["message"]
        assert WITHHELD not in stage.backend("front", "beta").get("message", "")
        assert "alpha (unauthenticated)" in stage.condition("front", "Ready")["message"]

        operator.restart()
        began = stage.status("front")["lastReportTime"]
        await asyncio.to_thread(eventually, lambda: stage.status("front")["lastReportTime"] > began)
        assert out_of_use(stage)

        # A new gateway has it, and goes by that at once, whatever the status still says.
        stage.apply(SECRET)
        stage.kubectl("-n", stage.namespace, "rollout", "restart", "deployment/front")
        deadline = time.monotonic() + PATIENCE_S
        while not await answers(local_runner, stage):
            assert time.monotonic() < deadline
