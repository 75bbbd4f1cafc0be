"""Results across the eras: what a Modern client needs and a Legacy one must not see.

Results within one era pass through as the bytes they came in.
"""

from typing import Final

import msgspec
from msgspec import Raw

MODERN_LIST_TAIL: Final = b',"resultType":"complete","ttlMs":0,"cacheScope":"private"}'
"""Closes one of our own lists for a Modern client. Never cached: `list_changed` is the only news of a change."""

_COMPLETE: Final = Raw(b'"complete"')
_MODERN_MEMBERS: Final = ("resultType", "ttlMs", "cacheScope")
_META_PREFIX: Final = "io.modelcontextprotocol/"

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


class InputRequired(Exception):
    """A Modern backend wants to ask the client something; a Legacy client cannot be asked that way.

    Attributes:
        requests: what it asks, each still raw, by the key that it wants the answer under.
        state: what it wants back with the answers, raw; None = nothing.
    """

    def __init__(self, requests: dict[str, Raw], state: Raw | None) -> None:
        super().__init__()
        self.requests = requests
        self.state = state


def for_modern(result: bytes, *, cached: bool) -> bytes:
    """A Legacy backend's result with the members that Modern requires; `cached` = of `resources/read`."""
    fields = _fields_of(result)
    fields.setdefault("resultType", _COMPLETE)
    if cached:
        fields.setdefault("ttlMs", Raw(b"0"))
        fields.setdefault("cacheScope", Raw(b'"private"'))
    return msgspec.json.encode(fields)


def for_legacy(result: bytes) -> bytes:
    """A Modern backend's result without Modern's own members.

    Raises:
        InputRequired: it is no result but a question.
    """
    fields = _fields_of(result)
    kind = fields.get("resultType")
    if kind is not None and bytes(kind) == b'"input_required"':
        requests = fields.get("inputRequests")
        raise InputRequired({} if requests is None else _fields_of(requests), fields.get("requestState"))
    for member in _MODERN_MEMBERS:
        fields.pop(member, None)
    return msgspec.json.encode(fields)


def without_envelope(meta: bytes) -> bytes:
    """A request's `_meta` without the Modern envelope, for a Legacy backend."""
    fields = _fields_of(meta)
    return msgspec.json.encode({key: value for key, value in fields.items() if not key.startswith(_META_PREFIX)})
