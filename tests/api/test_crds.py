"""The CRDs in `crds/` are those of the models, and a schema holds nothing that the API server refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from vmcp.api.crd import DEFINITIONS, Definition, crd, stale, write
from vmcp.api.model import ApiModel
from vmcp.api.schema import structural_schema

CRDS = Path(__file__).parents[2] / "crds"
EACH_KIND = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind.name)


def schemas(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from schemas(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from schemas(node[key], f"{path}.{key}")


def schema_of(definition: Definition) -> dict[str, Any]:
    schema = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert isinstance(schema, dict)
    return schema


def test_checked_in_crds_are_those_of_the_models() -> None:
    assert stale(CRDS) == [], "run `make crds`"


def test_a_changed_or_missing_file_is_stale(tmp_path: Path) -> None:
    write(tmp_path)
    assert stale(tmp_path) == []
    changed, missing, *_ = sorted(tmp_path.iterdir())
    changed.write_text(changed.read_text() + "\n")
    missing.unlink()
    assert sorted(stale(tmp_path)) == [changed, missing]


@EACH_KIND
def test_both_versions_are_served_and_one_is_stored(definition: Definition) -> None:
    versions = crd(definition)["spec"]["versions"]
    assert [(each["name"], each["served"], each["storage"]) for each in versions] == [
        ("v1beta1", True, True),
        ("v1alpha1", True, False),
    ]
    assert versions[0]["schema"] == versions[1]["schema"]


@EACH_KIND
def test_every_field_is_described(definition: Definition) -> None:
    fields = [
        (path, node)
        for path, node in schemas(schema_of(definition))
        if path and path != ".metadata" and not path.endswith((".items", ".additionalProperties"))
    ]
    assert [path for path, node in fields if len(node.get("description", "")) < 10] == []


def test_health_check_timeout_and_status_interval_have_no_default() -> None:
    definition = next(each for each in DEFINITIONS if each.kind.name == "VirtualMCPServer")
    fields = {
        path.rsplit(".", 1)[1]: node
        for path, node in schemas(schema_of(definition))
        if "." in path and "perBackend" not in path
    }
    assert "default" not in fields["healthCheckTimeout"]
    assert "default" not in fields["statusReportingInterval"]
    assert fields["healthCheckInterval"]["default"] == "30s"


def test_what_the_api_server_refuses_is_rewritten() -> None:
    class Part(ApiModel):
        """A part."""

        weight: float = Field(gt=0, description="Weight.")

    class Whole(ApiModel):
        """A whole."""

        kind: Literal["whole"] = "whole"
        part: Part | None = Field(None, description="The part.")
        parts: dict[str, Part] = Field(default_factory=dict)
        anything: dict[str, Any] | None = None

    part = {
        "type": "object",
        "required": ["weight"],
        "properties": {"weight": {"description": "Weight.", "type": "number", "minimum": 0, "exclusiveMinimum": True}},
    }
    assert structural_schema(Whole) == {
        "description": "A whole.",
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["whole"], "default": "whole"},
            "part": {**part, "description": "The part."},
            "parts": {"type": "object", "additionalProperties": {**part, "description": "A part."}},
            "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }


def test_a_field_of_two_types_is_refused_when_the_schema_is_made() -> None:
    class Loose(ApiModel):
        """Loose."""

        value: int | str

    with pytest.raises(TypeError, match="one type beside null"):
        structural_schema(Loose)
