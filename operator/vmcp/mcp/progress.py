"""Progress tokens where several callers share one stream: each chooses its own, so on the stream they must differ."""

import msgspec
from msgspec import Raw

from vmcp.mcp import jsonrpc
from vmcp.mcp.jsonrpc import Message

PROGRESS = "notifications/progress"

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


def with_token(params: bytes, token: bytes) -> tuple[bytes, bytes | None]:
    """The params with another progress token, and the one they had; unchanged and None where they have none."""
    if b"progressToken" not in params:
        return params, None
    try:
        fields = _fields_of(params)
        meta = _fields_of(fields["_meta"])
        before = bytes(meta["progressToken"])
    except (KeyError, ValueError):
        return params, None
    meta["progressToken"] = Raw(token)
    fields["_meta"] = Raw(msgspec.json.encode(meta))
    return msgspec.json.encode(fields), before


def token_of(message: Message) -> bytes:
    """The token that a progress notification comes under, as JSON; empty where it has none."""
    try:
        return bytes(_fields_of(message.params or b"{}").get("progressToken", b""))
    except msgspec.MsgspecError:
        return b""


def told_under(message: Message, token: bytes) -> bytes:
    """The progress notification under another token."""
    fields = _fields_of(message.params or b"{}")
    fields["progressToken"] = Raw(token)
    return jsonrpc.encode_notification(PROGRESS, msgspec.json.encode(fields))
