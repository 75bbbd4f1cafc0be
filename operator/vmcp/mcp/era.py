"""Which era a backend speaks: asked the modern way first, then the legacy way (mcp-wire §2.8, §3)."""

from typing import Final

import msgspec

from vmcp.api.category import ErrorCategory
from vmcp.mcp import jsonrpc
from vmcp.mcp.dialect import Dialect
from vmcp.mcp.endpoint import Endpoint, Identity
from vmcp.mcp.errors import BackendError
from vmcp.mcp.exchange import Reply
from vmcp.mcp.legacy import REVISIONS, initialize
from vmcp.mcp.modern import REVISION, Modern
from vmcp.mcp.ssewire import open_session

_NOT_UNDERSTOOD: Final = frozenset({400, 404, 405, 406, 415, 422, 500, 501})
"""What a Legacy server may say to a request of another era; `initialize` shows whether it is one."""


class _Versions(msgspec.Struct):
    supported: list[str] = []


async def detect(endpoint: Endpoint, identity: Identity, deadline: float, *, legacy_first: bool = False) -> Dialect:
    """The backend's dialect, with its session open. `deadline` in loop time.

    Args:
        legacy_first: of a server that speaks both eras, open a Legacy session.

    Raises:
        BackendError: the backend does not answer, or speaks nothing that we speak.
    """
    if endpoint.address.wire == "sse":
        return await open_session(endpoint, identity, deadline)
    if legacy_first:
        try:
            return await initialize(endpoint, identity, deadline)
        except BackendError as error:
            if error.http_status not in _NOT_UNDERSTOOD and error.category is not ErrorCategory.PROTOCOL:
                raise
    modern = Modern(endpoint, identity)
    try:
        reply = await modern.discover(deadline)
    except BackendError as error:
        if error.category not in (ErrorCategory.HTTP_4XX, ErrorCategory.HTTP_5XX):
            raise
        if error.http_status not in _NOT_UNDERSTOOD:
            raise
        return await initialize(endpoint, identity, deadline)
    if _is_modern(modern, reply):
        modern.settled = True
        return modern
    return await initialize(endpoint, identity, deadline)


def _is_modern(modern: Modern, reply: Reply) -> bool:
    """Raises BackendError: protocol, the backend speaks only revisions that we do not know."""
    if reply.error is None:
        return modern.speaks
    if reply.error.code != jsonrpc.UNSUPPORTED_VERSION:
        return reply.error.code in jsonrpc.MODERN_ERRORS
    supported = _supported(reply)
    if REVISION in supported:
        return True
    if supported and not any(revision in REVISIONS for revision in supported):
        raise BackendError(
            ErrorCategory.PROTOCOL, "The server speaks no MCP revision that we speak; upgrade one of the two."
        )
    return False


def _supported(reply: Reply) -> list[str]:
    if reply.error is None or isinstance(reply.error.data, msgspec.UnsetType):
        return []
    try:
        return msgspec.json.decode(reply.error.data, type=_Versions).supported
    except ValueError:
        return []
