"""Calls that fail are noticed long before a probe is due: by the gateway at once, by the operator within seconds."""

import asyncio
import itertools
import time
from datetime import UTC, datetime
from typing import Any

import pytest
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

from vmcp.api.passive import ANNOTATION, PassiveReport, Sighting, dump_report
from vmcp.health.tracker import REACHABLE_ELSEWHERE
from vmcp_dev.kubectl import KubectlError
from vmcp_dev.runnerthread import RunnerThread

DEFAULTS = {
    "healthCheckInterval": "10m",
    "healthCheckTimeout": "10s",
    "fastInterval": "2s",
    "unhealthyThreshold": 3,
    "circuitBreaker": {"enabled": True, "failureThreshold": 5, "timeout": "60s"},
}
"""What a user gets who only switches the breaker on, but for the interval: the next probe is minutes away."""


async def test_a_backend_killed_under_traffic_is_out_here_after_three_calls_and_in_the_cr_within_seconds(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread, record_property: Any
) -> None:
    with mcp_backends("alpha", "beta") as backends:
        entries = (entry(name, backend.url) for name, backend in backends.items())
        stage.apply(group(), *entries, with_handling(gateway(), **DEFAULTS))
        await asyncio.to_thread(eventually, lambda: stage.condition("front", "Ready")["status"] == "True")
        address = local_runner.wait_address(stage.namespace, "front")
        async with Client(f"{address}/mcp", mode="legacy") as client:
            await asyncio.to_thread(eventually, lambda: _checked_lately(stage))
            await until_listed(client, "alpha_echo", "beta_echo")
            assert (await client.call_tool("beta_echo", {"text": "hi"})).content[0].text == "hi"  # type: ignore[union-attr]

            await asyncio.to_thread(backends["beta"].kill)
            began = time.monotonic()
            failed = 0
            while "circuit" not in (refused := await _call_error(client, "beta_echo")).message:
                failed += 1
                assert failed <= 3
            here_s = time.monotonic() - began
            assert refused.code == -32003
            assert refused.message.startswith("backend 'beta' is unavailable (circuit open), retry in ")
            assert refused.data["circuit"] == "open"

            beta = await asyncio.to_thread(eventually, lambda: _open(stage))
            in_cr_s = time.monotonic() - began
            record_property("open_in_cr_s", in_cr_s)
            print(f"\nout at the gateway after {here_s:.2f} s and {failed} calls, open in the CR after {in_cr_s:.2f} s")
            assert beta["consecutiveFailures"] >= 5
            assert (await client.call_tool("alpha_echo", {"text": "still"})).content[0].text == "still"  # type: ignore[union-attr]


async def test_what_a_lease_says_beyond_its_bounds_does_nothing(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with mcp_backends("alpha") as backends:
        stage.apply(group(), entry("alpha", backends["alpha"].url), with_handling(gateway(), **DEFAULTS))
        await asyncio.to_thread(eventually, lambda: stage.condition("front", "Ready")["status"] == "True")
        fingerprint = stage.backend("front", "alpha")["targetFingerprint"]
        for text in ("{", "[" * 5000, "x" * 30_000, _report("nobody", "f"), _report("alpha", "of another target")):
            stage.patch("lease", "front-vmcp", {"metadata": {"annotations": {ANNOTATION: text}}})
        stage.patch("lease", "front-vmcp", {"metadata": {"annotations": {ANNOTATION: _report("alpha", fingerprint)}}})
        before = stage.get("deployment", "front")["metadata"]["generation"]
        # The one report that can be believed led to a probe, which found the backend well.
        await asyncio.sleep(2)
        assert stage.backend("front", "alpha")["circuitBreakerState"] == "closed"
        assert stage.condition("front", "Ready")["status"] == "True"
        assert stage.get("deployment", "front")["metadata"]["generation"] == before


async def test_a_backend_that_only_a_gateway_reaches_says_so(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with mcp_backends("alpha") as backends:
        # The operator checks it every second; that a gateway reaches it is said by the test in the gateway's place.
        handling = DEFAULTS | {"healthCheckInterval": "1s", "healthCheckTimeout": "900ms", "fastInterval": "1s"}
        stage.apply(group(), entry("alpha", backends["alpha"].url), with_handling(gateway(), **handling))
        await asyncio.to_thread(eventually, lambda: stage.backend("front", "alpha")["status"] == "ready")
        fingerprint = stage.backend("front", "alpha")["targetFingerprint"]
        backends["alpha"].kill()
        await asyncio.to_thread(eventually, lambda: stage.backend("front", "alpha")["status"] == "unavailable")
        await asyncio.sleep(2.5)
        report = _report("alpha", fingerprint, failures=0, reached_seconds_ago=0.0)
        stage.patch("lease", "front-vmcp", {"metadata": {"annotations": {ANNOTATION: report}}})
        # A text rides along with the next news of the backend: a reset makes some.
        resets = itertools.count()
        await asyncio.to_thread(eventually, lambda: _reset(stage, next(resets)) and _is_reached_elsewhere(stage))
        assert stage.backend("front", "alpha")["circuitBreakerState"] != "closed"


async def test_a_deleted_lease_is_restored_and_no_gateway_may_touch_another_ones(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    stage.apply(group(), gateway("front"), gateway("other"))
    for name in ("front", "other"):
        await asyncio.to_thread(eventually, lambda name=name: stage.exists("lease", f"{name}-vmcp"))  # type: ignore[misc]
    stage.delete("lease", "front-vmcp")
    await asyncio.to_thread(eventually, lambda: stage.exists("lease", "front-vmcp"))

    assert _may(stage, "patch", "leases/front-vmcp")
    for verb, resource in (
        ("patch", "leases/other-vmcp"),
        ("get", "leases/other-vmcp"),
        ("get", "leases/front-vmcp"),
        ("update", "leases/front-vmcp"),
        ("delete", "leases/front-vmcp"),
        ("create", "leases"),
        ("patch", "virtualmcpservers/front"),
    ):
        assert not _may(stage, verb, resource), (verb, resource)


def _may(stage: Stage, verb: str, resource: str) -> bool:
    """What the API server would let the gateway of `front` do."""
    gateway_of_front = f"--as=system:serviceaccount:{stage.namespace}:front-vmcp"
    try:
        answer = stage.kubectl(gateway_of_front, "-n", stage.namespace, "auth", "can-i", verb, resource)
    except KubectlError as error:
        answer = str(error)
        assert "ended with 1" in answer
        return False
    return answer.strip() == "yes"


def _reset(stage: Stage, number: int) -> bool:
    stage.patch("vmcp", "front", {"metadata": {"annotations": {"toolhive.stacklok.dev/reset": f"alpha@{number}"}}})
    return True


def _is_reached_elsewhere(stage: Stage) -> bool:
    return REACHABLE_ELSEWHERE in stage.backend("front", "alpha")["message"]


def _report(name: str, fingerprint: str, failures: int = 3, **more: Any) -> str:
    sighting = Sighting(name=name, fingerprint=fingerprint, failures=failures, **more)
    return dump_report(PassiveReport(replica="test", time=datetime.now(UTC), backends=[sighting]))


def _checked_lately(stage: Stage) -> bool:
    return all(stage.backend("front", name)["status"] == "ready" for name in ("alpha", "beta"))


def _open(stage: Stage) -> dict[str, Any] | None:
    backend = stage.backend("front", "beta")
    return backend if backend["circuitBreakerState"] == "open" else None


async def _call_error(client: Client, tool: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await client.call_tool(tool, {"text": "x"})
    return caught.value
