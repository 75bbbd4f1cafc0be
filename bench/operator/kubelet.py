"""Plays the kubelet for the Deployments of the fleet: binds their pods to a node and calls them ready. Nothing runs."""

from typing import Final

from bench.operator.objects import JsonObject
from bench.operator.stage import MERGE, OURS, Stage, at_once

NODE: Final = "bench"
_NOW: Final = "2026-01-01T00:00:00Z"


async def play(on: Stage, namespace: str) -> None:
    """Every pod of ours in the namespace is ready. The node keeps the local runner from taking them for its own."""
    await on.cluster.call("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
    pods = await on.cluster.call("GET", f"/api/v1/namespaces/{namespace}/pods?{OURS}")
    await at_once(_run(on, pod) for pod in pods["items"])


async def _run(on: Stage, pod: JsonObject) -> None:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name},
        "target": {"kind": "Node", "name": NODE},
    }
    await on.cluster.call("POST", f"{path}/binding", binding)
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": _NOW} for kind in ("PodScheduled", "Ready")]
    running = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": _NOW}},
        }
        for container in pod["spec"]["containers"]
    ]
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": running}
    await on.cluster.call("PATCH", f"{path}/status", {"status": status}, content_type=MERGE)
