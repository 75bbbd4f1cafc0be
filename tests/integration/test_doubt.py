"""When everything fails at once, the operator doubts itself first: states stay, and a condition says why."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.stage import (
    OperatorProcess,
    Stage,
    entry,
    eventually,
    free_port,
    gateway,
    group,
    with_handling,
)

HOSTS = 12
_SERVER = """
import sys
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
server = MCPServer("everywhere", version="1.0.0")
open_to_all = TransportSecuritySettings(enable_dns_rebinding_protection=False)
server.run("streamable-http", host="0.0.0.0", port=int(sys.argv[1]), transport_security=open_to_all)
"""


@contextmanager
def _server_on_every_loopback_address(port: int) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _SERVER, str(port)])
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def _states(stage: Stage) -> set[str]:
    return {backend["status"] for backend in stage.status("front")["discoveredBackends"]}


def test_a_network_that_fails_as_a_whole_flips_no_backend_and_is_named(stage: Stage, operator: OperatorProcess) -> None:
    port = free_port()
    entries = [entry(f"b{number:02}", f"http://127.0.0.{number + 2}:{port}/mcp") for number in range(HOSTS)]
    manifest = with_handling(
        gateway(),
        healthCheckInterval="8s",
        healthCheckTimeout="7s",
        fastInterval="4s",
        unhealthyThreshold=5,
        circuitBreaker={"enabled": True, "failureThreshold": 5},
    )
    with _server_on_every_loopback_address(port):
        stage.apply(group(), *entries, manifest)
        eventually(lambda: _states(stage) == {"ready"})
        assert stage.condition("front", "ProbingHealthy")["status"] == "True"
    doubted = eventually(lambda: _condition_if(stage, "False"))
    assert doubted["reason"] == "ProbesDoubted"
    assert _states(stage) == {"ready"}
    with _server_on_every_loopback_address(port):
        eventually(lambda: _condition_if(stage, "True"))
        eventually(lambda: _states(stage) == {"ready"})


def _condition_if(stage: Stage, status: str) -> dict[str, str] | None:
    condition: dict[str, str] = stage.condition("front", "ProbingHealthy")
    return condition if condition["status"] == status else None
