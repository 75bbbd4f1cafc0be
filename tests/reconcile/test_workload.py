"""What a Deployment and its Pods say of each other."""

from datetime import UTC, datetime
from typing import Any

import pytest

from vmcp.kube.client import JsonObject
from vmcp.reconcile.workload import FAILING_REASONS, deployment_state, is_missed, look_again_s
from vmcp.status.findings import DeploymentState

AVAILABLE = {"type": "Available", "status": "True"}
UNAVAILABLE = {"type": "Available", "status": "False"}
STUCK = {"type": "Progressing", "status": "False", "message": "ReplicaSet has timed out progressing."}
REFUSED = {"type": "ReplicaFailure", "status": "True", "message": 'pods "gate-1" is forbidden: exceeded quota'}


def deployment(
    *conditions: JsonObject, observed: int = 2, available: int = 1, replicas: int = 1, **status: Any
) -> JsonObject:
    return {
        "metadata": {"name": "gate", "generation": 2},
        "spec": {"replicas": replicas},
        "status": {
            "observedGeneration": observed,
            "availableReplicas": available,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "conditions": list(conditions),
            **status,
        },
    }


def pod(reason: str, message: str = "", *, name: str = "gate-1", **metadata: Any) -> JsonObject:
    state = {"waiting": {"reason": reason, "message": message}} if reason else {"running": {}}
    return {
        "metadata": {"name": name, **metadata},
        "status": {"containerStatuses": [{"name": "vmcp", "state": state}]},
    }


FAILED, WAITS, SERVES = DeploymentState.FAILED, DeploymentState.UNAVAILABLE, DeploymentState.AVAILABLE
ROWS: dict[str, tuple[JsonObject, list[JsonObject], DeploymentState, str]] = {
    "available": (deployment(AVAILABLE), [pod("")], SERVES, ""),
    "just made": ({"metadata": {"name": "gate", "generation": 1}, "spec": {}}, [], WAITS, "is not available yet"),
    "an older generation is available": (deployment(AVAILABLE, observed=1), [], WAITS, "is not available yet"),
    "no pod is ready": (deployment(UNAVAILABLE, available=0), [pod("PodInitializing")], WAITS, "is not available yet"),
    "available in name only": (deployment(AVAILABLE, available=0), [], WAITS, "is not available yet"),
    "scaled to 0": (deployment(AVAILABLE, available=0, replicas=0), [], WAITS, "has 0 replicas: no gateway runs"),
    "its image cannot be pulled": (
        deployment(UNAVAILABLE, available=0),
        [pod("ImagePullBackOff", "no such image")],
        FAILED,
        "container vmcp: ImagePullBackOff: no such image",
    ),
    "no message": (deployment(UNAVAILABLE), [pod("CrashLoopBackOff")], FAILED, "container vmcp: CrashLoopBackOff"),
    "new pods fail while old ones serve": (
        deployment(AVAILABLE, replicas=2, updatedReplicas=1),
        [pod("", name="old"), pod("CrashLoopBackOff", "back-off 40s", name="new")],
        FAILED,
        "container vmcp: CrashLoopBackOff: back-off 40s",
    ),
    "one of two pods of this generation fails": (
        deployment(AVAILABLE, replicas=2),
        [pod("", name="good"), pod("CrashLoopBackOff", name="sick")],
        SERVES,
        "",
    ),
    "old pods are left": (deployment(AVAILABLE, replicas=2, updatedReplicas=1), [], WAITS, "is not available yet"),
    "a failing pod is on its way out": (
        deployment(AVAILABLE),
        [pod("CrashLoopBackOff", deletionTimestamp="2026-01-01T00:00:00Z"), pod("")],
        SERVES,
        "",
    ),
    "a pod of the generation before fails": (
        deployment(UNAVAILABLE, observed=1),
        [pod("ImagePullBackOff")],
        WAITS,
        "is not available yet",
    ),
    "it does not progress": (deployment(UNAVAILABLE, STUCK), [], FAILED, "has timed out progressing"),
    "pods are refused": (deployment(UNAVAILABLE, REFUSED), [], FAILED, "exceeded quota"),
    "a pod without status": (deployment(AVAILABLE), [{"metadata": {"name": "p"}}], SERVES, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_the_state_of_a_deployment(name: str) -> None:
    obj, pods, state, said = ROWS[name]
    found, message = deployment_state(obj, pods)
    assert found is state
    if state is SERVES:
        assert message == ""
    else:
        assert message.startswith("Deployment gate")
        assert said in message


@pytest.mark.parametrize("reason", sorted(FAILING_REASONS))
def test_a_container_that_will_not_start_without_a_change_is_a_failure(reason: str) -> None:
    assert deployment_state(deployment(UNAVAILABLE), [pod(reason)])[0] is FAILED


def test_of_several_failing_pods_the_first_by_name_is_told_so_that_the_message_is_steady() -> None:
    pods = [pod("CrashLoopBackOff", "two", name="b"), pod("ErrImagePull", "one", name="a")]
    assert deployment_state(deployment(UNAVAILABLE), pods) == deployment_state(deployment(UNAVAILABLE), pods[::-1])
    assert "one" in deployment_state(deployment(UNAVAILABLE), pods)[1]


@pytest.mark.parametrize(("age_s", "wait_s"), [(-30, 5), (0, 5), (7, 7), (100, 100), (86_400, 300)])
def test_the_longer_a_gateway_is_not_there_the_rarer_it_is_looked_for_unasked(age_s: float, wait_s: float) -> None:
    created = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    obj = {"metadata": {"name": "gate", "creationTimestamp": "2026-11-24T12:00:00Z"}}
    assert look_again_s(obj, created.timestamp() + age_s) == wait_s


@pytest.mark.parametrize(
    ("age_s", "available", "missed"), [(1, 0, False), (10, 0, True), (10, None, True), (10, 1, False)]
)
def test_what_a_new_gateway_needs_is_made_once_and_again_only_when_it_does_not_come_up(
    age_s: float, available: int | None, missed: bool
) -> None:
    created = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    metadata = {"name": "gate", "creationTimestamp": "2026-11-24T12:00:00Z"}
    obj = {"metadata": metadata, "status": {"availableReplicas": available}}
    assert is_missed(obj, created.timestamp() + age_s) is missed
