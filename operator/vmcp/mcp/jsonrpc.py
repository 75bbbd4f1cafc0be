"""JSON-RPC 2.0 messages as MCP uses them. Params and results stay raw bytes: they pass through, never re-encoded."""

from typing import Final

import msgspec
from msgspec import Raw

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REQUEST_CANCELLED: Final = -32800
SERVER_ERROR: Final = -32000
"""TypeScript SDK, for anything about sessions and versions: means nothing portable."""
RESOURCE_NOT_FOUND: Final = -32002
BACKEND_UNAVAILABLE: Final = -32003
"""Ours: the backend is out (design §6)."""
HEADER_MISMATCH: Final = -32020
CAPABILITY_MISSING: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
URL_ELICITATION_REQUIRED: Final = -32042

MODERN_ERRORS: Final = frozenset({HEADER_MISMATCH, CAPABILITY_MISSING, UNSUPPORTED_VERSION})
"""Codes that only a Modern server sends."""


class JsonRpcError(msgspec.Struct, frozen=True, omit_defaults=True):
    """The error member of a response; `data` stays raw JSON."""

    code: int
    message: str = ""
    data: Raw | msgspec.UnsetType = msgspec.UNSET


class Message(msgspec.Struct, frozen=True, gc=False):
    """Any one message, read only as far as routing needs; what is JSON stays JSON. `raw` is the message as it came.

    An id is JSON too, since the string "1" and the number 1 are different ids; `null` counts as no id.
    """

    method: str = ""
    id: bytes | None = None
    params: bytes | None = None
    result: bytes | None = None
    error: JsonRpcError | None = None
    raw: bytes = b""

    @property
    def is_request(self) -> bool:
        """Whether the other side expects an answer to this."""
        return bool(self.method) and self.id is not None

    @property
    def is_notification(self) -> bool:
        """Whether this is a message that nobody answers."""
        return bool(self.method) and self.id is None

    @property
    def is_response(self) -> bool:
        """Whether this answers a request."""
        return not self.method and (self.result is not None or self.error is not None)


_ABSENT: Final = Raw(b"")


class _Envelope(msgspec.Struct):
    method: str = ""
    id: Raw = _ABSENT
    params: Raw = _ABSENT
    result: Raw = _ABSENT
    error: JsonRpcError | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_encode = msgspec.json.Encoder().encode


def decode(raw: bytes) -> Message:
    """The message in `raw`.

    Raises:
        ValueError: `raw` is not one JSON-RPC message (a batch is none).
    """
    try:
        envelope = _decode_envelope(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    ident = bytes(envelope.id)
    return Message(
        envelope.method,
        ident if ident and ident != b"null" else None,
        bytes(envelope.params) or None,
        bytes(envelope.result) or None,
        envelope.error,
        raw,
    )


def result_for(ident: bytes, raw: bytes) -> bytes | None:
    """The result, where `raw` is a response with one to the request `ident`; None where it is anything else."""
    try:
        envelope = _decode_envelope(raw)
    except (ValueError, RecursionError):
        return None
    if envelope.method or envelope.error is not None or bytes(envelope.id) != ident:
        return None
    return bytes(envelope.result) or None


def encode_request(ident: bytes, method: str, params: bytes = b"") -> bytes:
    """A request; `ident` is the id as JSON, `params` a JSON object or empty for none."""
    head = b'{"jsonrpc":"2.0","id":%b,"method":%b' % (ident, _encode(method))
    return b'%b,"params":%b}' % (head, params) if params else head + b"}"


def encode_notification(method: str, params: bytes = b"") -> bytes:
    """A notification; `params` a JSON object or empty for none."""
    head = b'{"jsonrpc":"2.0","method":' + _encode(method)
    return head + b',"params":' + params + b"}" if params else head + b"}"


def encode_result(ident: bytes, result: bytes) -> bytes:
    """A response; `ident` and `result` as JSON."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (ident, result)


def encode_error(ident: bytes, error: JsonRpcError) -> bytes:
    """An error response; `ident` as JSON, `null` where the request's id is unknown."""
    return b'{"jsonrpc":"2.0","id":' + ident + b',"error":' + _encode(error) + b"}"


def encode_text(text: str) -> bytes:
    """A JSON string."""
    return _encode(text)
