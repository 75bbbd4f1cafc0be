"""Each backend by its own policy, and an MCPServer that is known to be back before its open time is over."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.integration.stage import (
    GROUP,
    OperatorProcess,
    Stage,
    entry,
    eventually,
    gateway,
    group,
    mcp_backends,
    with_handling,
)

PATIENT = {"healthCheckInterval": "10s", "healthCheckTimeout": "9s"}
"""Where one failed check of a backend that is well would be one too many."""


def _server(name: str) -> dict[str, Any]:
    spec = {"groupRef": {"name": "tools"}, "image": "example.com/mcp:1", "transport": "streamable-http"}
    return {"apiVersion": GROUP, "kind": "MCPServer", "metadata": {"name": name}, "spec": spec}


def _report(stage: Stage, name: str, **status: object) -> None:
    patch = json.dumps({"status": status})
    stage.kubectl(
        "-n", stage.namespace, "patch", "mcpserver", name, "--subresource=status", "--type=merge", "-p", patch
    )


def test_one_backend_has_a_breaker_and_the_other_has_none(stage: Stage, operator: OperatorProcess) -> None:
    with mcp_backends("alpha", "beta") as backends:
        manifest = with_handling(
            gateway(),
            **PATIENT,
            circuitBreaker={"enabled": False},
            perBackend={
                "alpha": {"circuitBreaker": {"enabled": True, "failureThreshold": 1, "timeout": "10m"}},
                "gamma": {"unhealthyThreshold": 9},
            },
        )
        stage.apply(group(), *(entry(name, backend.url) for name, backend in backends.items()), manifest)
        eventually(lambda: [b["status"] for b in stage.status("front")["discoveredBackends"]] == ["ready", "ready"])
        told = stage.condition("front", "BackendOverridesMatched")
        assert (told["status"], told["reason"]) == ("False", "NamesWithoutBackend")
        assert "gamma" in told["message"]
        for backend in backends.values():
            backend.kill()
        eventually(lambda: stage.backend("front", "alpha")["circuitBreakerState"] == "open")
        eventually(lambda: stage.backend("front", "beta")["status"] == "unavailable")
        assert stage.backend("front", "alpha")["consecutiveFailures"] == 1
        assert stage.backend("front", "beta")["circuitBreakerState"] == "closed"


def test_an_mcpserver_that_becomes_ready_is_tried_at_once_whatever_is_left_of_its_open_time(
    stage: Stage, operator: OperatorProcess
) -> None:
    long_open = {"enabled": True, "failureThreshold": 2, "timeout": "10m"}
    with mcp_backends("alpha") as backends:
        stage.apply(group(), _server("alpha"), with_handling(gateway(), **PATIENT, circuitBreaker=long_open))
        _report(stage, "alpha", phase="Ready", url=backends["alpha"].url, readyReplicas=1)
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        backends["alpha"].kill()
        _report(stage, "alpha", phase="Pending", readyReplicas=0)
        eventually(lambda: stage.backend("front", "alpha")["circuitBreakerState"] == "open")
        backends["alpha"].start()
        ready_at = datetime.now(UTC)
        _report(stage, "alpha", phase="Ready", readyReplicas=1)
        eventually(lambda: stage.backend("front", "alpha")["circuitBreakerState"] == "closed")
        opened, tried, closed = stage.backend("front", "alpha")["transitions"]
        assert opened["to"] == "open"
        assert tried["reason"] == "target became ready"
        took = datetime.fromisoformat(closed["time"]) - ready_at
        print(f"usable {took.total_seconds():.3f} s after it was told to be ready")
