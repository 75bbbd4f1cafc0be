"""MCPGroup: a named set of backends; members name it in their `groupRef`."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from vmcp.api.conditions import Condition
from vmcp.api.kinds import GROUP, VERSION
from vmcp.api.model import ApiModel, Int32, Int64, ObjectMeta, extras, list_map

NAME_SET = extras(list_type="set")


class GroupPhase(StrEnum):
    """The group in one word."""

    READY = "Ready"
    PENDING = "Pending"
    FAILED = "Failed"


class MCPGroupSpec(ApiModel):
    """What the group is for."""

    description: str | None = Field(None, description="What the group is for.")


class MCPGroupStatus(ApiModel):
    """Who the members of the group are."""

    phase: GroupPhase = Field(GroupPhase.PENDING, description="Pending, Ready or Failed.")
    server_count: Int32 | None = Field(None, description="Number of MCPServers in the group.")
    servers: list[str] | None = Field(None, description="Names of the MCPServers.", json_schema_extra=NAME_SET)
    remote_proxy_count: Int32 | None = Field(None, description="Number of MCPRemoteProxies in the group.")
    remote_proxies: list[str] | None = Field(
        None, description="Names of the MCPRemoteProxies.", json_schema_extra=NAME_SET
    )
    entry_count: Int32 | None = Field(None, description="Number of MCPServerEntries in the group.")
    entries: list[str] | None = Field(None, description="Names of the MCPServerEntries.", json_schema_extra=NAME_SET)
    observed_generation: Int64 | None = Field(None, description="Generation of the spec that was seen.")
    conditions: list[Condition] | None = Field(
        None, description="What is known in detail.", json_schema_extra=list_map("type")
    )


class MCPGroup(ApiModel):
    """A named set of backends; members name it in their groupRef."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: Literal["MCPGroup"] = "MCPGroup"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: MCPGroupSpec | None = Field(None, description="What the group is for.")
    status: MCPGroupStatus | None = Field(None, description="Who the members of the group are.")
