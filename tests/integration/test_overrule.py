"""A person overrules what checks decide, by spec and by annotation, and sees it in status, message and Event."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
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
    with_handling,
)

from vmcp_dev.runnerthread import RunnerThread

LONG_OPEN = {"circuitBreaker": {"enabled": True, "failureThreshold": 2, "timeout": "10m"}}
RESET = "toolhive.stacklok.dev/reset"


def _order(stage: Stage, backend: str, override: dict[str, Any] | None) -> None:
    handling = {"perBackend": {backend: {"override": override}}}
    stage.patch("vmcp", "front", {"spec": {"config": {"operational": {"failureHandling": handling}}}})


def _force_open_for(stage: Stage, period: timedelta) -> datetime:
    """Order it, from now on; when it ends."""
    until = datetime.now(UTC).replace(microsecond=0) + period
    _order(stage, "alpha", {"mode": "forcedOpen", "until": until.strftime("%Y-%m-%dT%H:%M:%SZ")})
    return until


def _annotate(stage: Stage, **annotations: str) -> None:
    named = {f"toolhive.stacklok.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
    stage.patch("vmcp", "front", {"metadata": {"annotations": named}})


def _steps(stage: Stage) -> list[tuple[str, str, str]]:
    steps = stage.backend("front", "alpha").get("transitions", [])
    return [(step["from"], step["to"], step["reason"]) for step in steps]


def _is(stage: Stage, field: str, value: str) -> bool:
    return bool(stage.backend("front", "alpha").get(field) == value)


async def test_forced_open_takes_a_backend_from_a_live_client_and_gives_it_back_through_half_open(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with mcp_backends("alpha", "beta") as backends:
        stage.apply(group(), *(entry(name, backend.url) for name, backend in backends.items()), gateway())
        await asyncio.to_thread(eventually, lambda: stage.condition("front", "Ready")["status"] == "True")
        address = local_runner.wait_address(stage.namespace, "front")
        async with Client(f"{address}/mcp", mode="auto", cache=None) as client:
            await until_listed(client, "alpha_echo", "beta_echo")
            await client.call_tool("alpha_echo", {"text": "hi"})
            _order(stage, "alpha", {"mode": "forcedOpen", "reason": "moving house"})
            await asyncio.to_thread(eventually, lambda: _is(stage, "circuitBreakerState", "open"))
            alpha = stage.backend("front", "alpha")
            assert alpha["override"]["mode"] == "forcedOpen"
            assert alpha["override"]["since"]
            assert "circuitOpenUntil" not in alpha
            assert alpha["message"].startswith("forced open (moving house)")
            assert "alpha" in stage.condition("front", "Ready")["message"]
            await _until_refused(client)
            _order(stage, "alpha", None)
            await asyncio.to_thread(eventually, lambda: _is(stage, "status", "ready"))
            await _until_answered(client)
    assert [step[:2] for step in _steps(stage)] == [
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "closed"),
    ]
    assert "override" not in stage.backend("front", "alpha")
    wanted = {"BackendOverridden", "BackendOverrideEnded"}
    await asyncio.to_thread(eventually, lambda: wanted <= stage.event_reasons("front"))


def test_an_order_with_an_end_ends_by_itself_then_and_not_before(stage: Stage, operator: OperatorProcess) -> None:
    with mcp_backends("alpha") as backends:
        # No check is due for ten minutes: its end is a due time of its own.
        manifest = with_handling(gateway(), healthCheckInterval="10m")
        stage.apply(group(), entry("alpha", backends["alpha"].url), manifest)
        eventually(lambda: _is(stage, "status", "ready"))
        until = _force_open_for(stage, timedelta(minutes=10))
        eventually(lambda: _is(stage, "circuitBreakerState", "open"))
        shown = stage.backend("front", "alpha")
        assert datetime.fromisoformat(shown["override"]["until"]) == until
        assert datetime.fromisoformat(shown["circuitOpenUntil"]) == until
        until = _force_open_for(stage, timedelta(seconds=10))
        eventually(lambda: _is(stage, "circuitBreakerState", "closed"))
        _, ended, _ = stage.backend("front", "alpha")["transitions"]
        assert ended["reason"] == "no longer forced open"
        assert datetime.fromisoformat(ended["time"]) >= until


def test_forced_closed_keeps_a_dead_backend_in_use_and_shows_it_as_measured(
    stage: Stage, operator: OperatorProcess
) -> None:
    with mcp_backends("alpha") as backends:
        stage.apply(group(), entry("alpha", backends["alpha"].url), gateway())
        eventually(lambda: _is(stage, "status", "ready"))
        backends["alpha"].kill()
        eventually(lambda: _is(stage, "circuitBreakerState", "open"))
        _order(stage, "alpha", {"mode": "forcedClosed"})
        eventually(lambda: _is(stage, "circuitBreakerState", "closed"))
        operator.restart()
        eventually(lambda: stage.backend("front", "alpha")["consecutiveFailures"] > 0)
        alpha = stage.backend("front", "alpha")
        assert (alpha["status"], alpha["circuitBreakerState"]) == ("unavailable", "closed")
        assert alpha["override"]["mode"] == "forcedClosed"
        assert stage.status("front")["backendCount"] == 1
        _order(stage, "alpha", None)
        eventually(lambda: _is(stage, "circuitBreakerState", "open"))


def test_a_reset_is_done_once_whatever_restarts(stage: Stage, operator: OperatorProcess) -> None:
    with mcp_backends("alpha") as backends:
        stage.apply(group(), entry("alpha", backends["alpha"].url), with_handling(gateway(), **LONG_OPEN))
        eventually(lambda: _is(stage, "status", "ready"))
        backends["alpha"].kill()
        eventually(lambda: _is(stage, "circuitBreakerState", "open"))
        backends["alpha"].start()
        _annotate(stage, reset="alpha@1,nonsense")
        eventually(lambda: _is(stage, "status", "ready"))
        assert ("open", "half-open", "reset") in _steps(stage)
        (handled,) = stage.status("front")["handledRequests"]
        assert (handled["action"], handled["backend"], handled["token"]) == ("reset", "alpha", "1")
        told = stage.condition("front", "RequestsUnderstood")
        assert (told["status"], told["reason"]) == ("False", "RequestsMalformed")
        assert "'nonsense' is not <backend>@<token>" in told["message"]
        assert stage.get("vmcp", "front")["metadata"]["annotations"][RESET] == "alpha@1,nonsense"

        backends["alpha"].kill()
        eventually(lambda: _is(stage, "circuitBreakerState", "open"))
        before = _steps(stage)
        operator.restart()
        backends["alpha"].start()
        _annotate(stage, reset="alpha@1,other@1")
        eventually(lambda: "no backend 'other'" in stage.condition("front", "RequestsUnderstood")["message"])
        time.sleep(2)
        assert _steps(stage) == before

        _annotate(stage, reset="", probe_now="*@2")
        eventually(lambda: _is(stage, "status", "ready"))
        assert ("open", "half-open", "probe now") in _steps(stage)
        assert stage.condition("front", "RequestsUnderstood")["status"] == "True"
        assert [done["token"] for done in stage.status("front")["handledRequests"]] == ["1", "2"]


async def _until_refused(client: Client, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    refused = None
    while refused is None:
        assert time.monotonic() < deadline
        try:
            await client.call_tool("alpha_echo", {"text": "x"})
            await asyncio.sleep(0.1)
        except MCPError as error:
            refused = error
    assert refused.code == -32003
    assert "backend 'alpha' is unavailable" in refused.message


async def _until_answered(client: Client, patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            await client.call_tool("alpha_echo", {"text": "x"})
            return
        except MCPError:
            assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
