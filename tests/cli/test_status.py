"""`vmcp status` on a real API server, and its lines."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from vmcp.cli.statustable import rows
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OPEN: dict[str, Any] = {
    "name": "search",
    "status": "unavailable",
    "circuitBreakerState": "open",
    "circuitOpenUntil": "2026-11-24T12:00:42.500Z",
    "message": "circuit open until 12:00:42Z, connection failed [1]",
    "override": {"mode": "forcedOpen", "since": "2026-11-24T11:00:00Z", "until": "2026-11-25T00:00:00Z"},
    "transitions": [
        {"time": "2026-11-24T11:58:30Z", "from": "closed", "to": "open", "reason": "3 consecutive failures"}
    ],
}


def virtual(name: str, namespace: str = "team", **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "toolhive.stacklok.dev/v1beta1",
        "kind": "VirtualMCPServer",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"groupRef": {"name": "tools"}, "incomingAuth": {"type": "anonymous"}},
        **({"status": status} if status else {}),
    }


def test_a_backend_that_is_out_is_one_line_with_until_when_since_when_and_who_overruled_it() -> None:
    front = virtual("front", phase="Degraded", discoveredBackends=[{"name": "jira", "status": "ready"}, OPEN])
    jira, search = rows([front], NOW)
    assert jira == ("team", "front", "Degraded", "jira", "ready", *["-"] * 4, "")
    assert search[:6] == ("team", "", "", "search", "unavailable", "open")
    assert search[6:9] == ("12:00:42Z", "1m30s ago, was closed", "forcedOpen until 2026-11-25 00:00:00Z")


def test_an_object_without_backends_or_without_any_status_has_its_line_too() -> None:
    new, empty = rows([virtual("new"), virtual("empty", phase="Failed", message="MCPGroup tools is missing")], NOW)
    assert new[1:4] == ("new", "-", "-")
    assert "does the operator run" in new[-1]
    assert (empty[1], empty[2], empty[-1]) == ("empty", "Failed", "MCPGroup tools is missing")


@pytest.fixture
def fleet(kubectl: Kubectl, namespace: str, crds: None) -> str:
    kubectl.apply(virtual("front", namespace), virtual("side", namespace))
    status = virtual("front", namespace, phase="Degraded", discoveredBackends=[OPEN])["status"]
    patch = {"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "VirtualMCPServer", "status": status}
    kubectl("-n", namespace, "patch", "vmcp", "front", "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    return namespace


def test_it_shows_a_namespace_one_object_or_the_whole_cluster(control_plane: ControlPlane, fleet: str) -> None:
    of_all, of_one = run(control_plane, "-n", fleet), run(control_plane, "front", "-n", fleet)
    assert [line.split()[0] for line in of_all.stdout.splitlines()] == ["NAME", "front", "side"]
    assert [line.split()[0] for line in of_one.stdout.splitlines()] == ["NAME", "front"]
    assert "connection failed [1]" in of_one.stdout
    everywhere = run(control_plane, "-A").stdout.splitlines()
    assert everywhere[0].split()[:2] == ["NAMESPACE", "NAME"]
    assert any(line.split()[:2] == [fleet, "side"] for line in everywhere)


def test_what_does_not_exist_is_said_in_a_sentence(control_plane: ControlPlane, namespace: str) -> None:
    done = run(control_plane, "absent", "-n", namespace)
    assert (done.returncode, done.stdout) == (1, "")
    assert "absent" in done.stderr
    assert "Traceback" not in done.stderr


def run(control_plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vmcp.cli", "status", *arguments, f"--kubeconfig={control_plane.kubeconfig}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
