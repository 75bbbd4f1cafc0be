"""Lists of a backend: which there are, how one is read page by page, and what of an item is kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.api.category import ErrorCategory
from vmcp.gateway.changes import Changed
from vmcp.mcp.backend import Backend, BackendError

MAX_PAGES: Final = 200
MAX_ITEMS: Final = 20_000

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_items_of = msgspec.json.Decoder(list[Raw]).decode
_text_of = msgspec.json.Decoder(str).decode


class Listed(Enum):
    """A list that servers offer: (method, member of the result, member that identifies an item, capability)."""

    TOOLS = ("tools/list", "tools", "name", "tools")
    RESOURCES = ("resources/list", "resources", "uri", "resources")
    TEMPLATES = ("resources/templates/list", "resourceTemplates", "uriTemplate", "resources")
    PROMPTS = ("prompts/list", "prompts", "name", "prompts")

    def __init__(self, method: str, member: str, key: str, capability: str) -> None:
        self.method = method
        self.member = member
        self.key = key
        self.capability = capability

    @property
    def changed(self) -> Changed:
        """The notification that tells of a change of this list."""
        return Changed[self.capability.upper()]


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a list: its own name (or URI) and its JSON as the backend sent it."""

    own: str
    raw: bytes

    def shown_as(self, key: str, name: str, members: Mapping[str, Raw]) -> bytes:
        """The JSON with its name and some members replaced, and every other byte for byte as it came."""
        if name == self.own and not members:
            return self.raw
        fields = _fields_of(self.raw)
        fields[key] = Raw(msgspec.json.encode(name))
        fields.update(members)
        return msgspec.json.encode(fields)


async def fetch(backend: Backend, listed: Listed, *, timeout: float) -> tuple[Item, ...]:
    """Every item of a list, all pages, each page within `timeout` seconds.

    Raises:
        BackendError: no answer, or one that is no such list, or a list without end.
    """
    items: list[Item] = []
    cursor: Raw | None = None
    seen: set[bytes] = set()
    for _ in range(MAX_PAGES):
        params = b"" if cursor is None else b'{"cursor":' + bytes(cursor) + b"}"
        exchange = await backend.request(listed.method, params, timeout=timeout)
        reply = await exchange.response()
        if reply.result is None:
            code = reply.error.code if reply.error else 0
            raise BackendError(ErrorCategory.PROTOCOL, f"answered {listed.method} with the error {code}")
        try:
            fields = _fields_of(reply.result)
            items.extend(_read(listed, fields.get(listed.member)))
        except (msgspec.MsgspecError, ValueError) as error:
            raise BackendError(ErrorCategory.PROTOCOL, f"its answer to {listed.method} is no such list") from error
        if len(items) > MAX_ITEMS:
            raise BackendError(ErrorCategory.PROTOCOL, f"its {listed.member} are more than {MAX_ITEMS}")
        cursor = fields.get("nextCursor")
        if cursor is None or bytes(cursor) in (b"null", b'""'):
            return tuple(items)
        if bytes(cursor) in seen:
            break
        seen.add(bytes(cursor))
    raise BackendError(ErrorCategory.PROTOCOL, f"its {listed.member} have no last page")


def _read(listed: Listed, raw: Raw | None) -> Iterator[Item]:
    if raw is None:
        raise ValueError(f"no member {listed.member}")
    for entry in _items_of(raw):
        own = _fields_of(entry).get(listed.key)
        if own is None:
            raise ValueError(f"an entry without {listed.key}")
        yield Item(_text_of(own), bytes(entry))
