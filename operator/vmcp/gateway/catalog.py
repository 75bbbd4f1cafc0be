"""What clients see of all backends together: the aggregated lists, and the way from a public name to its backend.

Who is shown, and under which name, is a matter of the rules (`rules`). Resources and templates go by URI: where two
backends have the same, the first owns it, whether it is usable or not, so that a flip never changes whose content a
URI shows; nor does it change any name. Names of a backend that is out are kept: a call to one is answered with why,
not with "unknown".
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from vmcp.gateway.changes import Changed, Changes
from vmcp.gateway.cursors import PAGE_ITEMS, cursor
from vmcp.gateway.listing import Item, Listed
from vmcp.gateway.naming import LeftOut, Target
from vmcp.gateway.rules import Rules
from vmcp.gateway.upstream import Upstream
from vmcp.gateway.uritemplate import matches

log = logging.getLogger(__name__)

CONFLICTS_SHOWN = 5

_HEADER = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a public name leads.

    Attributes:
        own: the backend's own name of the item.
        params: (header, argument): arguments that a Modern backend wants to see as `Mcp-Param-` headers too.
    """

    upstream: Upstream
    own: str
    raw: bytes
    params: tuple[tuple[str, str], ...] = ()


class Catalog:
    """The lists of every backend, and what they make together."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._upstreams: dict[str, Upstream] = {}
        self._rules = Rules()
        self._items: dict[str, dict[Listed, tuple[Item, ...]]] = {}
        self._shown: dict[tuple[Listed, Target], tuple[Item, str, bytes]] = {}
        self._left_out: dict[Listed, list[LeftOut]] = {listed: [] for listed in Listed}
        self._routes: dict[Listed, dict[str, Route]] = {listed: {} for listed in Listed}
        self._pages: dict[Listed, list[bytes]] = {}
        self.tools = self._routes[Listed.TOOLS]

    def configure(self, upstreams: Mapping[str, Upstream], rules: Rules) -> None:
        """Aggregate these backends by these rules. Lists of backends whose target is unchanged are kept."""
        for name, before in self._upstreams.items():
            after = upstreams.get(name)
            if after is None or after.fingerprint != before.fingerprint:
                self._items.pop(name, None)
        if rules != self._rules:
            self._shown.clear()
        self._upstreams = dict(upstreams)
        self._rules = rules
        self._changes.publish({listed.changed for listed in Listed if self._rebuild(listed)})

    def put(self, backend: str, listed: Listed, items: tuple[Item, ...]) -> None:
        """The backend's list as it is now. Clients hear of it when they see a difference."""
        lists = self._items.setdefault(backend, {})
        before = lists.get(listed, ())
        lists[listed] = items
        if items != before and self._rebuild(listed):
            self._changes.publish((listed.changed,))

    def flipped(self, backend: str) -> None:
        """The backend became usable or stopped being so: tell clients of the lists that it has part in."""
        self._pages.clear()
        self._changes.publish(self._kinds(backend))

    def has_list(self, backend: str) -> bool:
        """Whether any list of this backend is known, so that a blip can be bridged."""
        return bool(self._items.get(backend))

    def has_page(self, listed: Listed) -> bool:
        """Whether the list need not be put together anew."""
        return listed in self._pages

    def page(self, listed: Listed, number: int = 0) -> bytes:
        """A page of the aggregated list as the opening of a result object, without its closing brace: `{"tools":[...]`.

        Empty where the list has become so short that it has no such page.
        """
        pages = self._pages.get(listed)
        if pages is None:
            items = [route.raw for route in self._routes[listed].values() if route.upstream.usable]
            opening = b'{"' + listed.member.encode() + b'":['
            starts = range(0, len(items) or 1, PAGE_ITEMS)
            pages = [opening + b",".join(items[start : start + PAGE_ITEMS]) + b"]" for start in starts]
            for following in range(1, len(pages)):
                pages[following - 1] += b',"nextCursor":"' + cursor(listed, following).encode() + b'"'
            self._pages[listed] = pages
        return pages[number] if number < len(pages) else b'{"' + listed.member.encode() + b'":[]'

    def route(self, listed: Listed, public: str) -> Route | None:
        """The way to an item by its public name or URI; None when no backend ever listed it."""
        return self._routes[listed].get(public)

    def resource(self, uri: str) -> Route | None:
        """The way to a resource: by its URI, else by the first template (by backend name) that it is one of."""
        route = self._routes[Listed.RESOURCES].get(uri)
        if route is None:
            for template, candidate in self._routes[Listed.TEMPLATES].items():
                if matches(template, uri):
                    return candidate
        return route

    def owner(self, uri: str) -> Upstream | None:
        """The backend of a resource."""
        route = self.resource(uri)
        return None if route is None else route.upstream

    def unlisted(self, listed: Listed, public: str) -> Upstream | None:
        """The backend that a name must belong to by the rules, if that backend never gave this list."""
        for name in self._rules.ranked(self._upstreams):
            if listed not in self._items.get(name, {}) and self._rules.may_own(listed, name, public):
                return self._upstreams[name]
        return None

    def sizes(self) -> dict[str, int]:
        """Number of items per list, those of unusable backends included."""
        return {listed.member: len(routes) for listed, routes in self._routes.items()}

    def left_out(self) -> dict[str, int]:
        """Number of items per list that no client sees because another one has their name."""
        return {listed.member: len(left_out) for listed, left_out in self._left_out.items()}

    def _kinds(self, backend: str) -> set[Changed]:
        return {
            listed.changed
            for listed, routes in self._routes.items()
            if any(route.upstream.name == backend for route in routes.values())
        }

    def _rebuild(self, listed: Listed) -> bool:
        """Make names and routes anew; whether clients see a difference."""
        items: dict[Target, Item] = {}
        for backend in self._rules.ranked(self._upstreams):
            for item in self._items.get(backend, {}).get(listed, ()):
                items.setdefault((backend, item.own), item)
        names, left_out = self._rules.names(listed, items)
        public_of = {target: public for public, target in names.items()}
        routes = self._routes[listed]
        before = [route.raw for route in routes.values() if route.upstream.usable]
        routes.clear()
        # In the order of the backends, and of each backend's own list: the same answer from every replica.
        for target, item in items.items():
            public = public_of.get(target)
            if public is not None:
                routes[public] = Route(
                    upstream=self._upstreams[target[0]],
                    own=item.own,
                    raw=self._as_shown(listed, target, item, public),
                    params=_header_params(item.raw) if listed is Listed.TOOLS else (),
                )
        for key in [key for key in self._shown if key[0] is listed and key[1] not in public_of]:
            del self._shown[key]
        self._pages.pop(listed, None)
        self._tell_left_out(listed, left_out)
        return [route.raw for route in routes.values() if route.upstream.usable] != before

    def _as_shown(self, listed: Listed, target: Target, item: Item, public: str) -> bytes:
        # One backend's news must not cost the rewriting of everybody's items.
        kept = self._shown.get((listed, target))
        if kept is not None and kept[0] is item and kept[1] == public:
            return kept[2]
        shown = item.shown_as(listed.key, public, self._rules.members(listed, target[0], item))
        self._shown[listed, target] = (item, public, shown)
        return shown

    def _tell_left_out(self, listed: Listed, left_out: list[LeftOut]) -> None:
        if left_out and left_out != self._left_out[listed]:
            shown = "; ".join(
                f"{each.claim.target[1]!r} of {each.claim.target[0]} ({each.claim.public!r} is {each.kept[1]!r} of "
                f"{each.kept[0]})"
                for each in left_out[:CONFLICTS_SHOWN]
            )
            log.warning("%s left out, their names are taken (%d): %s", listed.member, len(left_out), shown)
        self._left_out[listed] = left_out


class _Property(msgspec.Struct, rename={"header": "x-mcp-header"}):
    header: str = ""


class _Schema(msgspec.Struct, frozen=True):
    properties: dict[str, Raw] = {}


class _Tool(msgspec.Struct, rename="camel"):
    input_schema: _Schema = _Schema()


def _header_params(raw: bytes) -> tuple[tuple[str, str], ...]:
    # Almost no tool has them: look before decoding.
    if b"x-mcp-header" not in raw:
        return ()
    try:
        properties = msgspec.json.decode(raw, type=_Tool).input_schema.properties
        headers = {name: msgspec.json.decode(schema, type=_Property).header for name, schema in properties.items()}
    except msgspec.MsgspecError:
        return ()
    return tuple((f"Mcp-Param-{header}", name) for name, header in headers.items() if _HEADER.fullmatch(header))
