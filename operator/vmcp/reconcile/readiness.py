"""What a change of an MCPServer's status says of its endpoints: an open time may end, or a check may be due. Pure."""

from enum import StrEnum

from vmcp.api.mcpserver import ServerPhase
from vmcp.kube.client import JsonObject


class Moved(StrEnum):
    """How the endpoints moved."""

    NOT = "not"
    READY = "became ready"
    """It became ready, has more pods that are, or is ready elsewhere."""
    OTHERWISE = "changed"


def endpoints_moved(before: JsonObject, after: JsonObject) -> Moved:
    """How the endpoints of an MCPServer moved from one version of it to the next."""
    was, now = _endpoints(before), _endpoints(after)
    if was == now:
        return Moved.NOT
    (phase_before, _, replicas_before), (phase, url, replicas) = was, now
    if not _is_ready(phase, replicas) or not url:
        return Moved.OTHERWISE
    lost = _is_ready(phase_before, replicas_before) and was[1] == url and replicas <= replicas_before
    return Moved.OTHERWISE if lost else Moved.READY


def _endpoints(server: JsonObject) -> tuple[str, str, int]:
    status = server.get("status")
    if not isinstance(status, dict):
        return "", "", 0
    replicas = status.get("readyReplicas")
    return str(status.get("phase") or ""), str(status.get("url") or ""), replicas if isinstance(replicas, int) else 0


def _is_ready(phase: str, replicas: int) -> bool:
    return phase == ServerPhase.READY if phase else replicas > 0
