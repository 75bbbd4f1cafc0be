"""What an older CRD lacks is found, field by field."""

import copy

from vmcp.api.crd import DEFINITIONS, crd
from vmcp.api.kinds import GROUP, VERSION, VIRTUAL_MCP_SERVER
from vmcp.api.schema import Schema
from vmcp.kube.client import JsonObject, Kube, NotFound
from vmcp.kube.served import gaps, missing_fields


class Serves(Kube):
    def __init__(self, schemas: dict[str, Schema] | None) -> None:
        self.schemas = schemas

    async def read(self, path: str) -> JsonObject:
        assert path == f"/openapi/v3/apis/{GROUP}/{VERSION}"
        if self.schemas is None:
            raise NotFound(404, "NotFound", "no such group")
        mark = "x-kubernetes-group-version-kind"
        return {
            "components": {
                "schemas": {
                    f"some.prefix.{name}": schema | {mark: [{"group": GROUP, "version": VERSION, "kind": name}]}
                    for name, schema in self.schemas.items()
                }
            }
        }


def ours() -> dict[str, Schema]:
    return {
        definition.kind.name: copy.deepcopy(crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        for definition in DEFINITIONS
    }


async def test_our_own_crds_lack_nothing() -> None:
    assert await missing_fields(Serves(ours())) == []


async def test_without_crds_each_is_named() -> None:
    found = await missing_fields(Serves(None))
    assert len(found) == len(DEFINITIONS)
    assert f"CRD virtualmcpservers.{GROUP} is not installed" in found


async def test_a_missing_field_is_named_with_its_path_and_no_more_than_five_of_a_kind() -> None:
    schemas = ours()
    status = schemas[VIRTUAL_MCP_SERVER.name]["properties"]["status"]["properties"]
    del status["discoveredBackends"]["items"]["properties"]["circuitOpenUntil"]
    (text,) = await missing_fields(Serves(schemas))
    assert text == (
        f"CRD virtualmcpservers.{GROUP} is older than this operator: "
        "it lacks .status.discoveredBackends[].circuitOpenUntil"
    )
    for name in list(status["discoveredBackends"]["items"]["properties"])[:8]:
        del status["discoveredBackends"]["items"]["properties"][name]
    (text,) = await missing_fields(Serves(schemas))
    assert text.endswith("and 4 more")


def test_values_of_enums_and_what_is_kept_whole() -> None:
    old = {"properties": {"a": {"enum": ["x"]}, "b": {"x-kubernetes-preserve-unknown-fields": True}}}
    new = {"properties": {"a": {"enum": ["x", "y"]}, "b": {"properties": {"c": {}}}, "d": {}}}
    assert list(gaps(new, old)) == [".a=y", ".d"]
    assert list(gaps(old, new)) == []
    assert list(gaps({"additionalProperties": new}, {"additionalProperties": old})) == ["{}.a=y", "{}.d"]
