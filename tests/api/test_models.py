"""Models read what the API server stores and write it back without loss."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel
from tests.api.manifests import lost
from tests.api.samples import EVERY_ENTRY_FIELD, EVERY_PROXY_FIELD, EVERY_SERVER_FIELD, EVERY_VMCP_FIELD, vmcp

from vmcp.api.conditions import Condition
from vmcp.api.mcpgroup import MCPGroup
from vmcp.api.mcpremoteproxy import MCPRemoteProxy
from vmcp.api.mcpserver import MCPServer
from vmcp.api.mcpserverentry import MCPServerEntry
from vmcp.api.status import BackendStatus, CircuitState, DiscoveredBackend, VirtualMCPServerStatus
from vmcp.api.virtualmcpserver import VirtualMCPServer


def written(model: BaseModel) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


@pytest.mark.parametrize(
    ("model", "manifest"),
    [
        (VirtualMCPServer, EVERY_VMCP_FIELD),
        (MCPServer, EVERY_SERVER_FIELD),
        (MCPServerEntry, EVERY_ENTRY_FIELD),
        (MCPRemoteProxy, EVERY_PROXY_FIELD),
        (MCPGroup, {"kind": "MCPGroup", "spec": {"description": "d"}}),
    ],
    ids=["VirtualMCPServer", "MCPServer", "MCPServerEntry", "MCPRemoteProxy", "MCPGroup"],
)
def test_every_field_is_read_and_written_back(model: type[BaseModel], manifest: dict[str, Any]) -> None:
    assert lost(manifest, written(model.model_validate(manifest))) == []


def test_what_is_unset_reads_as_its_default() -> None:
    server = VirtualMCPServer.model_validate(
        vmcp(config={"operational": {"failureHandling": {"circuitBreaker": {"enabled": True}}}})
    )
    assert server.spec.config is not None
    assert server.spec.config.operational is not None
    handling = server.spec.config.operational.failure_handling
    assert handling is not None
    assert handling.circuit_breaker is not None
    assert (handling.health_check_interval, handling.health_check_timeout) == ("30s", None)
    assert (handling.circuit_breaker.failure_threshold, handling.circuit_breaker.timeout) == (5, "60s")


def test_fields_of_a_newer_version_are_ignored() -> None:
    manifest = vmcp(incomingAuth={"type": "anonymous", "colour": "blue"})
    assert VirtualMCPServer.model_validate(manifest).spec.incoming_auth.type == "anonymous"


def test_status_is_written_with_the_compatible_names() -> None:
    at = datetime(2026, 8, 21, 10, 0, 0, 123456, tzinfo=UTC)
    backend = DiscoveredBackend.model_validate(
        {
            "name": "a",
            "status": BackendStatus.UNAVAILABLE,
            "circuit_breaker_state": CircuitState.OPEN,
            "last_health_check": at,
            "circuit_open_until": at,
            "transitions": [{"time": at, "before": "closed", "after": "open", "reason": "FailureThreshold"}],
        }
    )
    assert written(backend) == {
        "name": "a",
        "status": "unavailable",
        "circuitBreakerState": "open",
        "lastHealthCheck": "2026-08-21T10:00:00Z",
        "circuitOpenUntil": "2026-08-21T10:00:00.123Z",
        "transitions": [
            {"time": "2026-08-21T10:00:00.123Z", "from": "closed", "to": "open", "reason": "FailureThreshold"}
        ],
    }


def test_a_status_survives_being_stored() -> None:
    stored = {
        "phase": "Degraded",
        "backendCount": 1,
        "lastReportTime": "2026-08-21T10:00:00Z",
        "discoveredBackends": [{"name": "a", "status": "ready", "errorCategory": "rate_limited"}],
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "SomeBackendsUnhealthy",
                "message": "1 of 2 backends is out",
                "lastTransitionTime": "2026-08-21T10:00:00Z",
                "observedGeneration": 3,
            }
        ],
    }
    assert written(VirtualMCPServerStatus.model_validate(stored)) == stored


def test_a_backend_status_that_nobody_here_writes_is_unknown() -> None:
    assert DiscoveredBackend(name="a", status="sleepy").status is BackendStatus.UNKNOWN


def test_times_are_written_in_utc() -> None:
    at = datetime(2026, 8, 21, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    condition = Condition.model_validate(
        {"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": at}
    )
    assert written(condition)["lastTransitionTime"] == "2026-08-21T10:00:00Z"
