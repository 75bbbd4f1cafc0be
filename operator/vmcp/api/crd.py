"""CustomResourceDefinitions made from the models: `python -m vmcp.api.crd [--check] crds/`."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from vmcp.api.kinds import (
    GROUP,
    MCP_GROUP,
    MCP_REMOTE_PROXY,
    MCP_SERVER,
    MCP_SERVER_ENTRY,
    VERSION,
    VIRTUAL_MCP_SERVER,
    Kind,
)
from vmcp.api.mcpgroup import MCPGroup
from vmcp.api.mcpremoteproxy import MCPRemoteProxy
from vmcp.api.mcpserver import MCPServer
from vmcp.api.mcpserverentry import MCPServerEntry
from vmcp.api.schema import Schema, structural_schema
from vmcp.api.virtualmcpserver import VirtualMCPServer

GENERATED = "# Generated from the models in vmcp/api by `make crds`; do not edit.\n"
VERSIONS = (VERSION, "v1alpha1")
"""Stored first; the others are served with the same schema."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; priority 1 is shown with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """A kind, its model, and how kubectl shows it."""

    kind: Kind
    model: type[BaseModel]
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()


def _condition(name: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")].{field}'


AGE = Column("Age", ".metadata.creationTimestamp", "date")
READY = Column("Ready", _condition("Ready", "status"))
BY_GROUP = (".spec.groupRef.name",)

DEFINITIONS = (
    Definition(
        VIRTUAL_MCP_SERVER,
        VirtualMCPServer,
        ("vmcp", "virtualmcp"),
        (
            Column("Phase", ".status.phase", description="The whole in one word"),
            Column("URL", ".status.url", description="URL of the gateway"),
            Column("Backends", ".status.backendCount", "integer", description="Backends that work and are used"),
            AGE,
            READY,
            Column("Reason", _condition("Ready", "reason"), priority=1, description="Why it is ready or not"),
            Column(
                "Message",
                _condition("Ready", "message"),
                priority=1,
                description="What is out, and what to do",
            ),
        ),
        BY_GROUP,
    ),
    Definition(
        MCP_GROUP,
        MCPGroup,
        ("mcpg", "mcpgroup"),
        (
            Column("Servers", ".status.serverCount", "integer"),
            Column("Proxies", ".status.remoteProxyCount", "integer"),
            Column("Phase", ".status.phase"),
            Column("Checked", _condition("MCPServersChecked", "status")),
            AGE,
        ),
    ),
    Definition(
        MCP_SERVER_ENTRY,
        MCPServerEntry,
        ("mcpentry",),
        (
            Column("Phase", ".status.phase"),
            Column("Transport", ".spec.transport"),
            Column("Remote URL", ".spec.remoteUrl"),
            Column("Group", ".spec.groupRef.name"),
            AGE,
        ),
        BY_GROUP,
    ),
    Definition(
        MCP_SERVER,
        MCPServer,
        ("mcpserver", "mcpservers"),
        (
            Column("Status", ".status.phase"),
            READY,
            Column("Replicas", ".status.readyReplicas", "integer"),
            Column("URL", ".status.url"),
            AGE,
        ),
        BY_GROUP,
    ),
    Definition(
        MCP_REMOTE_PROXY,
        MCPRemoteProxy,
        ("rp", "mcprp"),
        (
            Column("Phase", ".status.phase"),
            Column("Remote URL", ".spec.remoteUrl"),
            Column("URL", ".status.url"),
            READY,
            AGE,
        ),
        BY_GROUP,
    ),
)


def crd(definition: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    kind = definition.kind
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": list(definition.short_names),
                "categories": ["toolhive"],
            },
            "scope": "Namespaced",
            "versions": [_version(definition, version) for version in VERSIONS],
        },
    }


def file_name(definition: Definition) -> str:
    """The file that holds the definition."""
    return f"{GROUP}_{definition.kind.plural}.yaml"


def to_yaml(definition: Definition) -> str:
    """The text of that file."""
    return GENERATED + yaml.dump(
        crd(definition),
        Dumper=_PlainDumper,
        sort_keys=False,
        allow_unicode=True,
        width=110,
        default_flow_style=False,
    )


def stale(folder: Path) -> list[Path]:
    """The files that do not hold what the models say."""
    files = {folder / file_name(definition): to_yaml(definition) for definition in DEFINITIONS}
    return [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]


def write(folder: Path) -> None:
    """Write every definition into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for definition in DEFINITIONS:
        (folder / file_name(definition)).write_text(to_yaml(definition), "utf-8")


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors: the same rule in two versions is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _version(definition: Definition, version: str) -> dict[str, Any]:
    return {
        "name": version,
        "served": True,
        "storage": version == VERSION,
        "schema": {"openAPIV3Schema": _root_schema(definition)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in definition.columns],
        **(
            {"selectableFields": [{"jsonPath": path} for path in definition.selectable]}
            if definition.selectable
            else {}
        ),
    }


def _root_schema(definition: Definition) -> Schema:
    schema = structural_schema(definition.model)
    properties = {name: schema["properties"][name] for name in ("spec", "status")}
    head: Schema = {
        "apiVersion": {"type": "string", "description": "Version of the API that this object is written in."},
        "kind": {"type": "string", "description": "Kind of this object."},
        "metadata": {"type": "object"},
    }
    required = [name for name in schema.get("required", []) if name in properties]
    return {
        "description": schema["description"],
        "type": "object",
        **({"required": required} if required else {}),
        "properties": {**head, **properties},
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        **({"description": column.description} if column.description else {}),
        **({"priority": column.priority} if column.priority else {}),
    }


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m vmcp.api.crd", description="Write the CRDs made from the models.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    arguments = parser.parse_args()
    if not arguments.check:
        write(arguments.folder)
        return 0
    outdated = stale(arguments.folder)
    for path in outdated:
        sys.stderr.write(f"{path} is not what the models say; run `make crds`\n")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(_main())
