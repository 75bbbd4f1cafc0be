"""The whole circle of one backend, seen as a user sees it: kubectl on the object, the official SDK on the gateway."""

import asyncio
import time
from typing import Any

from mcp import Client, MCPError
from tests.integration.stage import (
    OperatorProcess,
    Stage,
    entry,
    eventually,
    gateway,
    group,
    mcp_backends,
    until_listed,
)

from vmcp_dev.runnerthread import RunnerThread


def _transitions(backend: dict[str, Any]) -> list[tuple[str, str]]:
    return [(transition["from"], transition["to"]) for transition in backend.get("transitions", [])]


async def test_a_backend_dies_and_returns_and_every_step_is_seen_by_kubectl_and_by_a_live_client(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with mcp_backends("alpha", "beta") as backends:
        stage.apply(group(), *(entry(name, backend.url) for name, backend in backends.items()), gateway())
        await asyncio.to_thread(eventually, lambda: stage.condition("front", "Ready")["status"] == "True")
        assert stage.status("front")["phase"] == "Ready"
        assert stage.status("front")["backendCount"] == 2
        address = local_runner.wait_address(stage.namespace, "front")

        changes: list[str] = []

        async def heard(message: Any) -> None:
            changes.append(type(message).__name__)

        async with Client(f"{address}/mcp", mode="legacy", message_handler=heard) as client:
            await until_listed(client, "alpha_echo", "beta_echo")
            assert (await client.call_tool("beta_echo", {"text": "hi"})).content[0].text == "hi"  # type: ignore[union-attr]

            await asyncio.to_thread(backends["beta"].kill)
            beta = await asyncio.to_thread(eventually, lambda: _in_state(stage, "open"))
            assert beta["status"] == "unavailable"
            assert beta["errorCategory"] == "connect"
            assert beta["circuitOpenUntil"]
            ready = stage.condition("front", "Ready")
            assert (ready["status"], ready["reason"]) == ("False", "SomeBackendsUnhealthy")
            assert "beta" in ready["message"]
            assert stage.status("front")["phase"] == "Degraded"
            assert stage.status("front")["backendCount"] == 1

            await _until(lambda: any("ToolListChanged" in change for change in changes))
            await until_listed(client, "alpha_echo")
            assert (await client.call_tool("alpha_echo", {"text": "still"})).content[0].text == "still"  # type: ignore[union-attr]
            error = await _call_error(client, "beta_echo")
            assert error.code == -32003
            assert "backend 'beta' is unavailable (circuit " in error.message

            await asyncio.to_thread(backends["beta"].start)
            beta = await asyncio.to_thread(eventually, lambda: _in_state(stage, "closed"))
            await asyncio.to_thread(eventually, lambda: stage.backend("front", "beta")["status"] == "ready")
            seen = _transitions(stage.backend("front", "beta"))
            assert seen[0] == ("closed", "open")
            assert seen[-2:] == [("open", "half-open"), ("half-open", "closed")]
            await until_listed(client, "alpha_echo", "beta_echo")
            assert (await client.call_tool("beta_echo", {"text": "back"})).content[0].text == "back"  # type: ignore[union-attr]

    wanted = {"CircuitOpened", "CircuitHalfOpen", "CircuitClosed"}
    await asyncio.to_thread(eventually, lambda: wanted <= stage.event_reasons("front"))
    described = stage.kubectl("-n", stage.namespace, "describe", "vmcp", "front")
    assert "CircuitOpened" in described


async def test_a_backend_that_hangs_opens_its_circuit_and_delays_nobody_else(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with mcp_backends("alpha", "beta") as backends:
        stage.apply(group(), *(entry(name, backend.url) for name, backend in backends.items()), gateway())
        await asyncio.to_thread(eventually, lambda: stage.status("front")["phase"] == "Ready")
        address = local_runner.wait_address(stage.namespace, "front")
        backends["beta"].hang()
        async with Client(f"{address}/mcp", mode="auto", cache=None) as client:
            await until_listed(client, "alpha_echo", "beta_echo")
            assert (await client.call_tool("alpha_echo", {"text": "hi"})).content[0].text == "hi"  # type: ignore[union-attr]
            beta = await asyncio.to_thread(eventually, lambda: _in_state(stage, "open"))
            assert beta["errorCategory"] == "timeout"
            await until_listed(client, "alpha_echo")
        backends["beta"].resume()
        await asyncio.to_thread(eventually, lambda: stage.backend("front", "beta")["status"] == "ready")


def _in_state(stage: Stage, circuit: str) -> dict[str, Any] | None:
    backend = stage.backend("front", "beta")
    return backend if backend["circuitBreakerState"] == circuit else None


async def _until(holds: Any, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def _call_error(client: Client, tool: str) -> MCPError:
    try:
        await client.call_tool(tool, {"text": "x"})
    except MCPError as error:
        return error
    raise AssertionError("the call succeeded")
