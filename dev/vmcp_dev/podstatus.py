"""The status that the runner reports for a pod: a pure function of what happened to its process."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vmcp_dev.podview import CONTAINER

_CONDITIONS = ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


@dataclass(frozen=True, slots=True)
class Exit:
    """How the process ended the last time.

    Attributes:
        status: exit status, 128 + signal number for a signal.
        started_at, ended_at: times in Kubernetes notation.
    """

    status: int
    started_at: str
    ended_at: str

    def document(self) -> dict[str, Any]:
        """The `terminated` state."""
        return {
            "exitCode": self.status,
            "reason": "Completed" if self.status == 0 else "Error",
            "startedAt": self.started_at,
            "finishedAt": self.ended_at,
        }


@dataclass(frozen=True, slots=True)
class Observed:
    """What the runner knows of a pod.

    Attributes:
        ip: the pod's address.
        since: when the runner took the pod.
        started_at: when the running process started; empty when none runs.
        waiting: why none runs, as (reason, message).
        ready: the readiness probe passes.
        last_exit: how the process before this one ended.
    """

    ip: str
    since: str
    image: str = ""
    started_at: str = ""
    waiting: tuple[str, str] = ("ContainerCreating", "")
    ready: bool = False
    restarts: int = 0
    last_exit: Exit | None = None
    changed_at: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The pod's `.status`."""
        return {
            "phase": self._phase(),
            "hostIP": "127.0.0.1",
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "startTime": self.since,
            "conditions": [self._condition(kind) for kind in _CONDITIONS],
            "containerStatuses": [self._container()],
        }

    def _phase(self) -> str:
        return "Running" if self.started_at or self.last_exit else "Pending"

    def _condition(self, kind: str) -> dict[str, Any]:
        status, at = self.changed_at[kind]
        reason = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{CONTAINER}]"}
        unready = kind in ("ContainersReady", "Ready") and status == "False"
        return {"type": kind, "status": status, "lastTransitionTime": at, **(reason if unready else {})}

    def _container(self) -> dict[str, Any]:
        state: dict[str, Any]
        if self.started_at:
            state = {"running": {"startedAt": self.started_at}}
        else:
            reason, message = self.waiting
            state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        return {
            "name": CONTAINER,
            "image": self.image,
            "imageID": "",
            "ready": self.ready,
            "started": bool(self.started_at),
            "restartCount": self.restarts,
            "state": state,
            "lastState": {"terminated": self.last_exit.document()} if self.last_exit else {},
        }


def timed(observed: Observed) -> Observed:
    """The same with every condition's transition time, which moves only when the condition flips."""
    now = now_text()
    changed = dict(observed.changed_at)
    for kind in _CONDITIONS:
        wanted = "True" if observed.ready or kind in _CONDITIONS[:3] else "False"
        if changed.get(kind, ("", ""))[0] != wanted:
            changed[kind] = (wanted, now)
    return replace(observed, changed_at=changed)


def now_text() -> str:
    """The time in Kubernetes notation."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
