"""MCPRemoteProxy: every event is handed over."""

import kopf

from vmcp.api.kinds import GROUP, MCP_REMOTE_PROXY, VERSION
from vmcp.handlers.memo import Memo


@kopf.on.event(GROUP, VERSION, MCP_REMOTE_PROXY.plural)
async def changed(event: kopf.RawEvent, memo: Memo, **_: object) -> None:
    """Hand over; what the object means is judged by the reconciler."""
    memo.seen(MCP_REMOTE_PROXY, event)
