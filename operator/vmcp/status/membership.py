"""Status of the small kinds: who is in an MCPGroup, and whether an entry or a remote proxy can be a backend."""

from collections.abc import Sequence
from datetime import UTC, datetime

from vmcp.api.conditions import Condition, ConditionType, Reason
from vmcp.api.kinds import Kind
from vmcp.api.mcpgroup import GroupPhase, MCPGroupStatus
from vmcp.api.mcpremoteproxy import MCPRemoteProxyStatus, ProxyPhase
from vmcp.api.mcpserverentry import EntryPhase, MCPServerEntryStatus
from vmcp.kube.client import JsonObject, Kube
from vmcp.status.conditions import merged
from vmcp.status.findings import Finding
from vmcp.status.recall import lenient

SmallStatus = MCPGroupStatus | MCPServerEntryStatus | MCPRemoteProxyStatus


def group_status(
    group: JsonObject, servers: Sequence[str], entries: Sequence[str], proxies: Sequence[str], now: float
) -> MCPGroupStatus:
    """The members of the group, sorted."""
    message = f"{len(servers)} MCPServers, {len(proxies)} MCPRemoteProxies and {len(entries)} MCPServerEntries"
    reason = Reason.LIST_MCP_SERVERS_CHECK_SUCCEEDED
    return MCPGroupStatus(
        phase=GroupPhase.READY,
        server_count=len(servers),
        servers=sorted(servers),
        remote_proxy_count=len(proxies),
        remote_proxies=sorted(proxies),
        entry_count=len(entries),
        entries=sorted(entries),
        observed_generation=group["metadata"]["generation"],
        conditions=_conditions(group, [Finding(ConditionType.MCP_SERVERS_CHECKED, True, reason, message)], now),
    )


def entry_status(entry: JsonObject, problem: str, now: float) -> MCPServerEntryStatus:
    """Valid, or Failed with the problem."""
    return MCPServerEntryStatus(
        phase=EntryPhase.FAILED if problem else EntryPhase.VALID,
        observed_generation=entry["metadata"]["generation"],
        conditions=_conditions(entry, [_valid(problem)], now),
    )


def proxy_status(proxy: JsonObject, problem: str, left_out: Sequence[str], now: float) -> MCPRemoteProxyStatus:
    """Ready at the remote URL, since nothing runs between; or Failed with the problem.

    Args:
        left_out: paths of fields without effect.
    """
    message = problem or "gateways connect to it themselves"
    reason = Reason.VALIDATION_FAILED if problem else Reason.ENDPOINT_USABLE
    findings = [_valid(problem), Finding(ConditionType.READY, not problem, reason, message)]
    if left_out:
        text = f"no proxy runs for it, so there is no effect of: {', '.join(left_out)}"
        findings.append(Finding(ConditionType.FEATURES_SUPPORTED, False, Reason.LEFT_OUT, text))
    return MCPRemoteProxyStatus(
        phase=ProxyPhase.FAILED if problem else ProxyPhase.READY,
        message=message,
        url=None if problem else proxy["spec"]["remoteUrl"],
        observed_generation=proxy["metadata"]["generation"],
        conditions=_conditions(proxy, findings, now),
    )


async def write(kube: Kube, kind: Kind, obj: JsonObject, status: SmallStatus) -> None:
    """Write the status where it differs from the stored one. Raises NotFound, Conflict, KubeError."""
    wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    if obj.get("status") == wanted:
        return
    metadata = {name: obj["metadata"][name] for name in ("namespace", "name", "uid", "resourceVersion")}
    body = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "status": wanted}
    await kube.apply(kind, body, subresource="status")


def _valid(problem: str) -> Finding:
    if problem:
        return Finding(ConditionType.VALID, False, Reason.VALIDATION_FAILED, problem)
    return Finding(ConditionType.VALID, True, Reason.VALIDATION_SUCCEEDED, "it can be a backend")


def _conditions(obj: JsonObject, findings: Sequence[Finding], now: float) -> list[Condition]:
    stored = (obj.get("status") or {}).get("conditions") or []
    previous = [condition for item in stored if (condition := lenient(Condition, item)) is not None]
    moment = datetime.fromtimestamp(int(now), UTC)
    return merged(findings, previous, generation=obj["metadata"]["generation"], now=moment)
