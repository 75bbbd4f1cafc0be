"""What the runner reads of a Pod, taken out of the API object once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GATEWAY_LABEL = "app.kubernetes.io/name=virtualmcpserver"
INSTANCE_LABEL = "app.kubernetes.io/instance"
CONTAINER = "vmcp"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodView:
    """One state of one Pod.

    Attributes:
        instance: name of the VirtualMCPServer that it is a gateway of.
        node: the node it is bound to, empty before.
        leaving: it has a deletionTimestamp.
        grace_seconds: time that its process has from SIGTERM to SIGKILL.
        container: the container `vmcp` as in the spec; None when there is none of that name.
        volumes: the spec's volumes by name.
        restarts: the restart count that its status tells.
    """

    uid: str
    namespace: str
    name: str
    instance: str
    node: str
    leaving: bool
    grace_seconds: float
    service_account: str
    container: Json | None
    volumes: Mapping[str, Json]
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    restarts: int

    @classmethod
    def of(cls, pod: Json) -> "PodView":
        """Read a Pod as it came from the API."""
        meta, spec = pod["metadata"], pod["spec"]
        statuses: Sequence[Json] = pod.get("status", {}).get("containerStatuses") or ()
        usual = spec.get("terminationGracePeriodSeconds", 30)
        return cls(
            uid=meta["uid"],
            namespace=meta["namespace"],
            name=meta["name"],
            instance=meta.get("labels", {}).get(INSTANCE_LABEL, ""),
            node=spec.get("nodeName", ""),
            leaving="deletionTimestamp" in meta,
            grace_seconds=float(meta.get("deletionGracePeriodSeconds", usual)),
            service_account=spec.get("serviceAccountName", "default"),
            container=next((c for c in spec["containers"] if c["name"] == CONTAINER), None),
            volumes={volume["name"]: volume for volume in spec.get("volumes", ())},
            annotations=meta.get("annotations", {}),
            labels=meta.get("labels", {}),
            restarts=max((status.get("restartCount", 0) for status in statuses), default=0),
        )
