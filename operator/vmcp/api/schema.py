"""From a pydantic model to the structural schema that the API server takes.

What the API server refuses (`$ref`, `anyOf` with null, `additionalProperties: false` …) is rewritten; what it
ignores but `kubectl apply` refuses (`title`, `examples` …) is left out.
"""

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = (
    "type",
    "format",
    "pattern",
    "enum",
    "default",
    "required",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
# The bounds that a format already has.
_FORMAT_BOUNDS = {"int32": (-(2**31), 2**31), "int64": (-(2**63), 2**63)}


def structural_schema(model: type[BaseModel]) -> Schema:
    """The schema of a model, complete in itself."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(raw, raw.get("$defs", {}))


def _convert(node: Schema, definitions: Schema) -> Schema:
    node = _resolve(node, definitions)
    schema: Schema = {}
    if "description" in node:
        schema["description"] = " ".join(node["description"].split())
    schema.update((key, node[key]) for key in _KEPT if node.get(key) is not None)
    schema.update((key, value) for key, value in node.items() if key.startswith("x-kubernetes-"))
    if "const" in node:
        schema["enum"] = [node["const"]]
    for bound in ("minimum", "maximum"):
        exclusive = "exclusive" + bound.capitalize()
        if exclusive in node:
            schema[bound] = node[exclusive]
            schema[exclusive] = True
    _drop_format_bounds(schema)
    if "properties" in node:
        schema["properties"] = {name: _convert(value, definitions) for name, value in node["properties"].items()}
    if "items" in node:
        schema["items"] = _convert(node["items"], definitions)
    further = node.get("additionalProperties")
    if isinstance(further, dict) and _resolve(further, definitions):
        schema["additionalProperties"] = _convert(further, definitions)
    elif further or further == {} or "type" not in node:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    return schema


def _resolve(node: Schema, definitions: Schema) -> Schema:
    """The node with its reference, or its one alternative to null, put in its place."""
    while True:
        rest = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "allOf", "title")}
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in node:
            alternatives = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
            if len(alternatives) != 1:
                raise TypeError(f"a field may have one type beside null, not {alternatives}")
            target = alternatives[0]
        else:
            return node
        node = {**target, **rest}


def _drop_format_bounds(schema: Schema) -> None:
    lowest, above = _FORMAT_BOUNDS.get(schema.get("format", ""), (None, None))
    if schema.get("minimum") == lowest:
        schema.pop("minimum", None)
    if schema.get("maximum") == above:
        schema.pop("maximum", None)
        schema.pop("exclusiveMaximum", None)
