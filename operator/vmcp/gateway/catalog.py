"""What clients see of all backends together: the aggregated lists, and the way from a public name to its backend.

Tools and prompts carry their backend's prefix (`naming`). Resources and templates go by URI: where two backends have
the same, the first by name owns it, whether it is usable or not, so that a flip never changes whose content a URI
shows. Names of a backend that is out are kept: a call to one is answered with why, not with "unknown".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from vmcp.gateway.changes import Changed, Changes
from vmcp.gateway.listing import Item, Listed
from vmcp.gateway.naming import DEFAULT_PREFIX_FORMAT, assign, prefix_of, prompt_name, tool_name
from vmcp.gateway.upstream import Upstream
from vmcp.gateway.uritemplate import matches


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
        self._prefix_format = DEFAULT_PREFIX_FORMAT
        self._items: dict[str, dict[Listed, tuple[Item, ...]]] = {}
        self._routes: dict[Listed, dict[str, Route]] = {listed: {} for listed in Listed}
        self._pages: dict[Listed, bytes] = {}
        self.tools = self._routes[Listed.TOOLS]

    def configure(self, upstreams: Mapping[str, Upstream], prefix_format: str) -> None:
        """Aggregate these backends from now on. Lists of backends whose target is unchanged are kept."""
        changed: set[Changed] = set()
        for name, before in self._upstreams.items():
            after = upstreams.get(name)
            if after is None or after.fingerprint != before.fingerprint:
                changed |= self._kinds(name)
                self._items.pop(name, None)
            elif prefix_format != self._prefix_format:
                changed |= self._kinds(name)
        self._upstreams = dict(upstreams)
        self._prefix_format = prefix_format
        for listed in Listed:
            self._rebuild(listed)
        self._changes.publish(changed)

    def put(self, backend: str, listed: Listed, items: tuple[Item, ...]) -> None:
        """The backend's list as it is now. Clients hear of it when it differs and the backend is usable."""
        lists = self._items.setdefault(backend, {})
        before = lists.get(listed, ())
        lists[listed] = items
        if items != before:
            self._rebuild(listed)
            upstream = self._upstreams.get(backend)
            if upstream is not None and upstream.usable:
                self._changes.publish((listed.changed,))

    def flipped(self, backend: str) -> None:
        """The backend became usable or stopped being so: tell clients of the lists that it has part in."""
        self._pages.clear()
        self._changes.publish(self._kinds(backend))

    def has_list(self, backend: str) -> bool:
        """Whether any list of this backend is known, so that a blip can be bridged."""
        return bool(self._items.get(backend))

    def page(self, listed: Listed) -> bytes:
        """The aggregated list as the opening of a result object, without its closing brace: `{"tools":[...]`."""
        page = self._pages.get(listed)
        if page is None:
            items = [route.raw for route in self._routes[listed].values() if route.upstream.usable]
            page = b'{"' + listed.member.encode() + b'":[' + b",".join(items) + b"]"
            self._pages[listed] = page
        return page

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

    def unlisted(self, listed: Listed, public: str) -> Upstream | None:
        """The backend that a name must belong to by its prefix, if that backend never gave this list."""
        for name, upstream in self._upstreams.items():
            prefix = prefix_of(name, self._prefix_format)
            if prefix and public.startswith(prefix) and listed not in self._items.get(name, {}):
                return upstream
        return None

    def sizes(self) -> dict[str, int]:
        """Number of items per list, those of unusable backends included."""
        return {listed.member: len(routes) for listed, routes in self._routes.items()}

    def _kinds(self, backend: str) -> set[Changed]:
        return {listed.changed for listed, items in self._items.get(backend, {}).items() if items}

    def _rebuild(self, listed: Listed) -> None:
        by_name: dict[tuple[str, str], Item] = {}
        for backend in sorted(self._upstreams):
            for item in self._items.get(backend, {}).get(listed, ()):
                by_name.setdefault((backend, item.own), item)
        if listed in (Listed.TOOLS, Listed.PROMPTS):
            named = self._prefixed(listed, by_name)
        else:
            named = {}
            for backend, own in by_name:
                named.setdefault(own, (backend, own))
        public_of = {target: public for public, target in named.items()}
        routes = self._routes[listed]
        routes.clear()
        # In the order of backends by name, and of each backend's own list: the same answer from every replica.
        for target, item in by_name.items():
            public = public_of.get(target)
            if public is not None:
                routes[public] = Route(
                    upstream=self._upstreams[target[0]],
                    own=item.own,
                    raw=item.renamed(listed.key, public),
                    params=_header_params(item.raw) if listed is Listed.TOOLS else (),
                )
        self._pages.pop(listed, None)

    def _prefixed(self, listed: Listed, targets: Iterable[tuple[str, str]]) -> dict[str, tuple[str, str]]:
        name = tool_name if listed is Listed.TOOLS else prompt_name
        return assign(targets, lambda backend, own: name(prefix_of(backend, self._prefix_format), own))


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
    return tuple((f"Mcp-Param-{header}", name) for name, header in headers.items() if header)
