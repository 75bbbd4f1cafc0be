"""Status of the small kinds: who is in an MCPGroup, and whether an MCPServerEntry can be a backend."""

from collections.abc import Sequence
from datetime import UTC, datetime

from vmcp.api.conditions import Condition, ConditionType, Reason
from vmcp.api.kinds import Kind
from vmcp.api.mcpgroup import GroupPhase, MCPGroupStatus
from vmcp.api.mcpserverentry import EntryPhase, MCPServerEntryStatus
from vmcp.kube.client import JsonObject, Kube
from vmcp.status.conditions import merged
from vmcp.status.findings import Finding
from vmcp.status.recall import lenient

SmallStatus = MCPGroupStatus | MCPServerEntryStatus


def group_status(group: JsonObject, servers: Sequence[str], entries: Sequence[str], now: float) -> MCPGroupStatus:
    """The members of the group, sorted."""
    message = f"{len(servers)} MCPServers and {len(entries)} MCPServerEntries"
    reason = Reason.LIST_MCP_SERVERS_CHECK_SUCCEEDED
    return MCPGroupStatus(
        phase=GroupPhase.READY,
        server_count=len(servers),
        servers=sorted(servers),
        remote_proxy_count=0,
        remote_proxies=[],
        entry_count=len(entries),
        entries=sorted(entries),
        observed_generation=group["metadata"]["generation"],
        conditions=_conditions(group, Finding(ConditionType.MCP_SERVERS_CHECKED, True, reason, message), now),
    )


def entry_status(entry: JsonObject, problem: str, now: float) -> MCPServerEntryStatus:
    """Valid, or Failed with the problem."""
    finding = (
        Finding(ConditionType.VALID, False, Reason.VALIDATION_FAILED, problem)
        if problem
        else Finding(ConditionType.VALID, True, Reason.VALIDATION_SUCCEEDED, "it can be a backend")
    )
    return MCPServerEntryStatus(
        phase=EntryPhase.FAILED if problem else EntryPhase.VALID,
        observed_generation=entry["metadata"]["generation"],
        conditions=_conditions(entry, finding, now),
    )


async def write(kube: Kube, kind: Kind, obj: JsonObject, status: SmallStatus) -> None:
    """Write the status where it differs from the stored one. Raises NotFound, Conflict, KubeError."""
    wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    if obj.get("status") == wanted:
        return
    metadata = {name: obj["metadata"][name] for name in ("namespace", "name", "uid", "resourceVersion")}
    body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "status": wanted}
    await kube.apply(kind, body, subresource="status")


def _conditions(obj: JsonObject, finding: Finding, now: float) -> list[Condition]:
    stored = (obj.get("status") or {}).get("conditions") or []
    previous = [condition for item in stored if (condition := lenient(Condition, item)) is not None]
    moment = datetime.fromtimestamp(int(now), UTC)
    return merged([finding], previous, generation=obj["metadata"]["generation"], now=moment)
