"""What the gateway's Deployment and its Pods say of each other: available, not yet, or failing. Pure."""

from collections.abc import Sequence
from datetime import datetime

from vmcp.kube.client import JsonObject
from vmcp.status.findings import DeploymentState

FAILING_REASONS = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""What the kubelet says of a container that will not start without a change."""

SHORTEST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0


def deployment_state(deployment: JsonObject, pods: Sequence[JsonObject]) -> tuple[DeploymentState, str]:
    """The state for the generation that is applied, and a sentence on it (empty when available)."""
    status = deployment.get("status") or {}
    name = deployment["metadata"]["name"]
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    current = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    available = conditions.get("Available", {}).get("status") == "True" and status.get("availableReplicas", 0) > 0
    # While old pods are left the new ones are not proven: a rollout whose new pods fail is a failure all the same.
    rolled_out = status.get("updatedReplicas", 0) >= status.get("replicas", 0)
    if current and available and rolled_out:
        return DeploymentState.AVAILABLE, ""
    if current and (failing := _failing(conditions, pods)):
        return DeploymentState.FAILED, f"Deployment {name}: {failing}"
    if deployment["spec"].get("replicas") == 0:
        return DeploymentState.UNAVAILABLE, f"Deployment {name} has 0 replicas: no gateway runs"
    return DeploymentState.UNAVAILABLE, f"Deployment {name} is not available yet"


def look_again_s(deployment: JsonObject, wall: float) -> float:
    """Seconds until a Deployment that is not available is looked at unasked: as long as it exists, within bounds.

    What happens to it is watched. This is for what no watch shows, such as a session key that went with an earlier
    owner; a thousand gateways that wait for nodes must not be asked for every few seconds.
    """
    return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, _age_s(deployment, wall)))


def is_missed(deployment: JsonObject, wall: float) -> bool:
    """Whether it has no available pod, and is not just being made: then something may be missing that it needs."""
    available = (deployment.get("status") or {}).get("availableReplicas")
    return not available and _age_s(deployment, wall) >= SHORTEST_WAIT_S


def _age_s(deployment: JsonObject, wall: float) -> float:
    return wall - datetime.fromisoformat(deployment["metadata"]["creationTimestamp"]).timestamp()


def _failing(conditions: dict[str, JsonObject], pods: Sequence[JsonObject]) -> str:
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        for container in (pod.get("status") or {}).get("containerStatuses", []):
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in FAILING_REASONS:
                return f"container {container['name']}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    if conditions.get("ReplicaFailure", {}).get("status") == "True":
        return str(conditions["ReplicaFailure"].get("message", "pods cannot be created"))
    progressing = conditions.get("Progressing", {})
    if progressing.get("status") == "False":
        return str(progressing.get("message", "it does not progress"))
    return ""
