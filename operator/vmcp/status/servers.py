"""Status of an MCPServer whose workload is ours, and of one whose is not."""

from dataclasses import dataclass
from datetime import UTC, datetime

from vmcp.api.conditions import Condition, ConditionType, Reason
from vmcp.api.kinds import MCP_SERVER
from vmcp.api.mcpserver import MCPServerStatus, ServerPhase
from vmcp.kube.client import JsonObject, Kube
from vmcp.status.conditions import merged
from vmcp.status.findings import Finding
from vmcp.status.recall import lenient

MESSAGE_MAX_LENGTH = 4096
_PULL_FAILED = frozenset({"ErrImagePull", "ImagePullBackOff"})
"""The kubelet alternates between them; for a reader it is one state."""
_OURS = frozenset(
    {
        ConditionType.FEATURES_SUPPORTED,
        ConditionType.MANAGED,
        ConditionType.OBJECTS_UNCONTESTED,
        ConditionType.POD_TEMPLATE_SPEC_VALID,
        ConditionType.READY,
        ConditionType.VALID,
    }
)
"""Conditions of other types are another operator's."""


@dataclass(frozen=True, slots=True)
class ServerFindings:
    """What reconcile knows of one MCPServer.

    Attributes:
        reason: of the condition Ready.
        url: of the endpoint within the cluster, empty while there is none.
        conditions: all but Ready.
    """

    phase: ServerPhase
    reason: str
    message: str
    url: str = ""
    ready_replicas: int = 0
    conditions: tuple[Finding, ...] = ()


def server_status(server: JsonObject, found: ServerFindings, now: float) -> MCPServerStatus:
    """The status to write. `now` is in seconds since the epoch."""
    ready = Finding(ConditionType.READY, found.phase is ServerPhase.READY, found.reason, found.message)
    return MCPServerStatus(
        phase=found.phase,
        message=found.message[:MESSAGE_MAX_LENGTH],
        url=found.url or None,
        ready_replicas=found.ready_replicas,
        observed_generation=server["metadata"]["generation"],
        conditions=_conditions(server, (*found.conditions, ready), now),
    )


def foreign_status(server: JsonObject, message: str, now: float) -> MCPServerStatus:
    """The one condition that is ours where another operator runs the server; all else is that operator's."""
    managed = Finding(ConditionType.MANAGED, False, Reason.FOREIGN_CONTROLLER, message)
    return MCPServerStatus(conditions=_conditions(server, (managed,), now))


async def write(kube: Kube, server: JsonObject, status: MCPServerStatus) -> None:
    """Write the status where it says something new; texts ride along. Raises NotFound, Conflict, KubeError."""
    stored = server.get("status") or {}
    if _essence(lenient(MCPServerStatus, stored), status) == _essence(status, status):
        return
    metadata = {name: server["metadata"][name] for name in ("namespace", "name", "uid", "resourceVersion")}
    wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    body = {"apiVersion": MCP_SERVER.api_version, "kind": MCP_SERVER.name, "metadata": metadata, "status": wanted}
    await kube.apply(MCP_SERVER, body, subresource="status")


def _conditions(server: JsonObject, found: tuple[Finding, ...], now: float) -> list[Condition]:
    status = lenient(MCPServerStatus, server.get("status") or {})
    previous = (status.conditions if status else None) or []
    moment = datetime.fromtimestamp(int(now), UTC)
    return merged(found, previous, generation=server["metadata"]["generation"], now=moment)


def _essence(status: MCPServerStatus | None, like: MCPServerStatus) -> object:
    """What a reader must know at once; where `like` is one condition, that one."""
    if status is None:
        return None
    spoken_of = _OURS if like.phase else {ConditionType.MANAGED}
    conditions = sorted(_told(condition) for condition in status.conditions or () if condition.type in spoken_of)
    if like.phase is None:
        return conditions
    return status.phase, status.url, status.ready_replicas or 0, status.observed_generation, conditions


def _told(condition: Condition) -> tuple[str, str, str]:
    reason = "ImagePullBackOff" if condition.reason in _PULL_FAILED else condition.reason
    return condition.type, condition.status, reason
