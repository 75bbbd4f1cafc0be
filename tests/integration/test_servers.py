"""MCPServers run by the operator, from the manifest to Ready and back; the test plays the kubelet."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.stage import GROUP, Stage, eventually, gateway, group, with_handling

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.operatorprocess import start_operator


class Fleet:
    """The stage, and what a kubelet would say of pods that nobody runs."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def apply(self, name: str = "search", **spec: Any) -> None:
        whole = {"image": "example.com/mcp:1", "transport": "streamable-http", "groupRef": {"name": "tools"}, **spec}
        self.stage.apply({"apiVersion": GROUP, "kind": "MCPServer", "metadata": {"name": name}, "spec": whole})

    def pod(self, name: str = "search-0") -> dict[str, Any]:
        return self.stage.get("pod", name)

    def image(self) -> str:
        """Of the pod as it is now."""
        found: str = self.pod()["spec"]["containers"][0]["image"]
        return found

    def status(self, name: str = "search") -> dict[str, Any]:
        found: dict[str, Any] = self.stage.get("mcpserver", name)["status"]
        return found

    def ready(self, name: str = "search") -> tuple[str, str]:
        conditions = self.status(name)["conditions"]
        return next((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready")

    def run(self, pod: str = "search-0", container: str = "mcp") -> None:
        self._say(pod, container, {"running": {"startedAt": _now()}}, ready=True)

    def fail(self, reason: str, message: str, pod: str = "search-0", container: str = "mcp") -> None:
        self._say(pod, container, {"waiting": {"reason": reason, "message": message}}, ready=False)

    def _say(self, pod: str, container: str, state: dict[str, Any], *, ready: bool) -> None:
        told = {"name": container, "image": "x", "imageID": "x", "restartCount": 0, "state": state, "ready": ready}
        conditions = [
            {"type": kind, "status": str(ready), "lastTransitionTime": _now()} for kind in ("ContainersReady", "Ready")
        ]
        status = {"phase": "Running" if ready else "Pending", "conditions": conditions, "containerStatuses": [told]}
        self.stage.kubectl(
            "-n", self.stage.namespace, "patch", "pod", pod, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def fleet(control_plane: ControlPlane, stage: Stage, tmp_path: Path) -> Iterator[Fleet]:
    log = tmp_path / "operator.log"
    arguments = ["--namespace", stage.namespace, "--manage-mcpservers"]
    running = start_operator(control_plane.kubeconfig, log=log, arguments=arguments)
    yield Fleet(stage)
    running.stop(20)
    text = log.read_text()
    assert "Traceback" not in text, text


def test_a_server_runs_and_a_broken_image_recovers_without_hands_once_it_is_fixed(fleet: Fleet) -> None:
    fleet.apply()
    eventually(lambda: fleet.stage.exists("pod", "search-0"))
    assert eventually(lambda: fleet.status()["phase"]) == "Pending"
    fleet.run()
    eventually(lambda: fleet.status()["phase"] == "Ready")
    status = fleet.status()
    assert status["url"] == f"http://mcp-search-proxy.{fleet.stage.namespace}.svc.cluster.local:8080/mcp"
    assert status["readyReplicas"] == 1

    fleet.apply(image="example.com/mcp:broken")
    eventually(lambda: fleet.image() == "example.com/mcp:broken")
    fleet.fail("ErrImagePull", "no such image: example.com/mcp:broken")
    eventually(lambda: fleet.ready() == ("False", "ErrImagePull"))
    assert fleet.status()["phase"] == "Failed"
    assert "no such image" in fleet.status()["message"]

    fleet.apply(image="example.com/mcp:2")
    eventually(lambda: fleet.image() == "example.com/mcp:2")
    fleet.run()
    eventually(lambda: fleet.ready() == ("True", "PodsReady"))
    assert fleet.status()["phase"] == "Ready"


def test_a_stdio_server_is_ready_when_its_proxy_is_and_shows_as_a_backend(fleet: Fleet) -> None:
    fleet.stage.apply(group(), gateway())
    fleet.apply(transport="stdio")
    eventually(lambda: fleet.stage.exists("pod", "search-0"))
    fleet.run()
    eventually(lambda: fleet.ready() == ("False", "ProxyNotReady"))
    proxies = eventually(
        lambda: [pod for pod in fleet.stage.every("pod") if pod["metadata"]["name"].startswith("search-proxy-")]
    )
    fleet.run(proxies[0]["metadata"]["name"], "proxy")
    eventually(lambda: fleet.ready() == ("True", "PodsReady"))
    eventually(lambda: fleet.stage.backend("front", "search")["url"].endswith(":8080/mcp"))


def test_a_server_that_becomes_ready_has_its_open_circuit_tried_at_once(fleet: Fleet) -> None:
    long_open = {"enabled": True, "failureThreshold": 1, "timeout": "10m"}
    fleet.stage.apply(group(), with_handling(gateway(), circuitBreaker=long_open))
    fleet.apply()
    # Nobody resolves the names of Services here: its checks fail for ever.
    eventually(lambda: fleet.stage.backend("front", "search")["circuitBreakerState"] == "open")
    fleet.run()
    tried = eventually(lambda: fleet.stage.backend("front", "search")["transitions"][1])
    assert tried["reason"] == "target became ready"


def test_what_was_deleted_or_changed_is_restored_at_once(fleet: Fleet) -> None:
    fleet.apply()
    eventually(lambda: fleet.stage.exists("pod", "search-0"))
    for kind, name in (("service", "mcp-search-proxy"), ("statefulset", "search")):
        before = fleet.stage.get(kind, name)["metadata"]["uid"]
        fleet.stage.delete(kind, name)
        eventually(lambda kind=kind, name=name, before=before: fleet.stage.get(kind, name)["metadata"]["uid"] != before)
    fleet.stage.patch("service", "mcp-search-proxy", {"spec": {"sessionAffinity": "None"}})
    eventually(lambda: fleet.stage.get("service", "mcp-search-proxy")["spec"]["sessionAffinity"] == "ClientIP")
