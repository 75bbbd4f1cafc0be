"""`spec.config.aggregation`: how the tools of several backends become one list."""

from enum import StrEnum

from pydantic import Field

from vmcp.api.model import ApiModel
from vmcp.api.references import NameRef


class ConflictResolution(StrEnum):
    """What happens to tools of the same name."""

    PREFIX = "prefix"
    PRIORITY = "priority"
    MANUAL = "manual"


class ToolVisibility(StrEnum):
    """Whether tools that no rule names are shown."""

    ALLOW = "allow"
    DENY = "deny"


class ConflictResolutionConfig(ApiModel):
    """The details of the conflict resolution."""

    prefix_format: str = Field(
        "{workload}_",
        description="What is put before a name under `prefix`; {workload} is the backend's name. Default {workload}_; "
        "empty = names as the backends give them, and where two meet, the second gets a short hash.",
    )
    priority_order: list[str] | None = Field(
        None,
        description="Backend names under `priority`, the one whose tool is kept first. Others follow by name.",
    )


class ToolAnnotations(ApiModel):
    """Hints about a tool that replace those of the backend."""

    title: str | None = Field(None, description="Title for people.")
    read_only_hint: bool | None = Field(None, description="Whether the tool changes nothing.")
    destructive_hint: bool | None = Field(None, description="Whether the tool may destroy something.")
    idempotent_hint: bool | None = Field(None, description="Whether a second call of the same changes nothing more.")
    open_world_hint: bool | None = Field(None, description="Whether the tool reaches beyond its server.")


class ToolOverride(ApiModel):
    """What a tool is shown as."""

    name: str | None = Field(None, description="Name to show instead.")
    description: str | None = Field(None, description="Description to show instead.")
    annotations: ToolAnnotations | None = Field(None, description="Hints to show instead.")


class WorkloadTools(ApiModel):
    """Which tools of one backend are shown, and as what."""

    workload: str = Field(description="Name of the backend.")
    exclude_all: bool | None = Field(None, description="Show none of its tools.")
    filter: list[str] | None = Field(
        None, description="Show only the tools of these names, as the backend gives them. Empty = all."
    )
    overrides: dict[str, ToolOverride] | None = Field(
        None, description="What tools are shown as, by the name that the backend gives them."
    )
    tool_config_ref: NameRef | None = Field(None, description="A shared MCPToolConfig with filter and overrides.")


class Aggregation(ApiModel):
    """How the tools of several backends become one list."""

    conflict_resolution: ConflictResolution = Field(
        ConflictResolution.PREFIX,
        description="What happens to tools of the same name: prefix (the default) puts the backend's name "
        "before "
        "each, priority keeps that of the first backend, manual leaves it to overrides.",
    )
    conflict_resolution_config: ConflictResolutionConfig | None = Field(
        None, description="Details of the conflict resolution."
    )
    default_tool_visibility: ToolVisibility | None = Field(
        None, description="Whether tools of backends without an entry in `tools` are shown."
    )
    exclude_all_tools: bool | None = Field(None, description="Show no tool of any backend.")
    tools: list[WorkloadTools] | None = Field(None, description="Which tools are shown and as what, by backend.")
