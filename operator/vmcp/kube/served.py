"""Whether the API server knows every field that we read and write: its CRDs may be older than we are.

Asked of the published schema (`/openapi/v3`), which every account may read, and not of the CRDs, which a namespaced
operator may not.
"""

from collections.abc import Iterator, Mapping

from vmcp.api.crd import DEFINITIONS, Definition, crd
from vmcp.api.kinds import GROUP, VERSION
from vmcp.api.schema import Schema
from vmcp.kube.client import JsonObject, Kube, NotFound

TOLD_MAX = 5
"""So many fields of a kind are named, the rest counted."""


async def missing_fields(kube: Kube) -> list[str]:
    """A sentence for each kind whose CRD is absent or lacks something of ours. Raises KubeError."""
    try:
        document = await kube.read(f"/openapi/v3/apis/{GROUP}/{VERSION}")
    except NotFound:
        document = {}
    served = _schemas(document)
    return [text for definition in DEFINITIONS if (text := _lack(definition, served.get(definition.kind.name)))]


def gaps(ours: Schema, served: Schema, path: str = "") -> Iterator[str]:
    """The paths of what our schema has and the served one lacks: fields, and values of enums."""
    if served.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = served.get("enum")
    if known is not None:
        yield from (f"{path}={value}" for value in ours.get("enum", ()) if value not in known)
    fields = served.get("properties", {})
    for name, schema in ours.get("properties", {}).items():
        if name in fields:
            yield from gaps(schema, fields[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    for part, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(ours.get(part), dict) and isinstance(served.get(part), dict):
            yield from gaps(ours[part], served[part], path + mark)


def _lack(definition: Definition, served: Schema | None) -> str:
    name = f"{definition.kind.plural}.{GROUP}"
    if served is None:
        return f"CRD {name} is not installed"
    ours = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    # What the API server itself puts there says nothing: it replaces the schema of the head.
    parts = {part: ours["properties"][part] for part in ("spec", "status") if part in ours["properties"]}
    lacking = list(gaps({"properties": parts}, served))
    if not lacking:
        return ""
    more = f" and {len(lacking) - TOLD_MAX} more" if len(lacking) > TOLD_MAX else ""
    return f"CRD {name} is older than this operator: it lacks {', '.join(lacking[:TOLD_MAX])}{more}"


def _schemas(document: JsonObject) -> Mapping[str, Schema]:
    """The published schemas of our group and version, by kind."""
    found: dict[str, Schema] = {}
    for schema in document.get("components", {}).get("schemas", {}).values():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            if kind.get("group") == GROUP and kind.get("version") == VERSION:
                found[kind["kind"]] = schema
    return found
