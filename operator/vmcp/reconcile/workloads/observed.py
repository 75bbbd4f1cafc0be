"""What an MCPServer's StatefulSet, its pods and its proxy say of it: in one word, and why. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vmcp.api.conditions import Reason
from vmcp.api.mcpserver import ServerPhase
from vmcp.kube.client import JsonObject
from vmcp.reconcile.workload import FAILING_REASONS, deployment_state
from vmcp.status.findings import DeploymentState

CRASHES = 3
"""A container that was restarted so often and is not ready is failing, also between two crashes."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is seen. `reason` is the kubelet's own word where a container will not run."""

    phase: ServerPhase
    reason: str
    message: str
    ready_replicas: int = 0


def observed(
    stateful_set: JsonObject,
    pods: Sequence[JsonObject],
    proxy: JsonObject | None,
    proxy_pods: Sequence[JsonObject],
    refusal: str = "",
) -> Observed:
    """What is seen of the server.

    Args:
        proxy: the Deployment in front of a stdio server, None in front of others.
        refusal: why the API server admits no pod of it, empty where it does or is not known.
    """
    name = stateful_set["metadata"]["name"]
    status = stateful_set.get("status") or {}
    wanted, ready = stateful_set["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    if wanted == 0:
        return Observed(ServerPhase.STOPPED, Reason.SCALED_TO_ZERO, f"StatefulSet {name} has 0 replicas", ready)
    current = status.get("observedGeneration", 0) >= stateful_set["metadata"].get("generation", 0)
    # While old pods are left the new ones are not proven: a rollout whose new pods fail is a failure all the same.
    rolled_out = status.get("updatedReplicas", 0) >= min(wanted, status.get("replicas", 0))
    if current and ready and rolled_out:
        return _fronted(f"{ready} of {wanted} pods ready", ready, proxy, proxy_pods)
    for reason, message in _failures(pods):
        return Observed(ServerPhase.FAILED, reason, message, ready)
    if refusal:
        return Observed(ServerPhase.FAILED, Reason.FAILED_CREATE, refusal, ready)
    for message in _unschedulable(pods):
        return Observed(ServerPhase.PENDING, Reason.UNSCHEDULABLE, message, ready)
    message = f"{ready} of {wanted} pods ready"
    if ready:
        message = f"a change is being rolled out; {message}"
    return Observed(ServerPhase.PENDING, Reason.PODS_NOT_READY, message, ready)


def lacks_pods(stateful_set: JsonObject, pods: Sequence[JsonObject]) -> bool:
    """Whether pods are wanted and there is none: the API server may refuse them."""
    return bool(stateful_set["spec"].get("replicas", 1)) and not pods


def _fronted(message: str, ready: int, proxy: JsonObject | None, proxy_pods: Sequence[JsonObject]) -> Observed:
    if proxy is not None:
        state, told = deployment_state(proxy, proxy_pods)
        if state is DeploymentState.FAILED:
            return Observed(ServerPhase.FAILED, Reason.PROXY_FAILED, told, ready)
        if state is not DeploymentState.AVAILABLE:
            return Observed(ServerPhase.PENDING, Reason.PROXY_NOT_READY, told, ready)
    return Observed(ServerPhase.READY, Reason.PODS_READY, message, ready)


def _failures(pods: Sequence[JsonObject]) -> Iterator[tuple[str, str]]:
    for pod in _staying(pods):
        status = pod.get("status") or {}
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            if failure := _failure(container):
                reason, message = failure
                yield reason, f"pod {pod['metadata']['name']}, container {container['name']}: {message}".rstrip(": ")


def _failure(container: JsonObject) -> tuple[str, str] | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    if (reason := waiting.get("reason")) in FAILING_REASONS:
        return str(reason), f"{reason}: {waiting.get('message', '')}"
    ended = state.get("terminated") or last.get("terminated") or {}
    if ended.get("exitCode") and container.get("restartCount", 0) >= CRASHES and not container.get("ready"):
        again = f"exit code {ended['exitCode']}, restarted {container['restartCount']} times"
        return "CrashLoopBackOff", f"{ended.get('reason', 'Error')}: {again}"
    return None


def _unschedulable(pods: Sequence[JsonObject]) -> Iterator[str]:
    for pod in _staying(pods):
        for condition in (pod.get("status") or {}).get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                yield f"pod {pod['metadata']['name']}: {condition.get('message', 'no node has room for it')}"


def _staying(pods: Sequence[JsonObject]) -> list[JsonObject]:
    """Those that are not on their way out, in the order of their names."""
    staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return sorted(staying, key=lambda pod: str(pod["metadata"]["name"]))
