"""VirtualMCPServer: every event is handed over."""

import kopf

from vmcp.api.kinds import GROUP, VERSION, VIRTUAL_MCP_SERVER
from vmcp.handlers.memo import Memo


@kopf.on.event(GROUP, VERSION, VIRTUAL_MCP_SERVER.plural)
async def changed(event: kopf.RawEvent, memo: Memo, **_: object) -> None:
    """Hand over; what the object means is judged by the reconciler."""
    memo.seen(VIRTUAL_MCP_SERVER, event)
