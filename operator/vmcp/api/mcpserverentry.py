"""MCPServerEntry: a remote MCP endpoint as a member of a group; nothing is deployed for it."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from vmcp.api.conditions import Condition
from vmcp.api.kinds import GROUP, VERSION
from vmcp.api.model import ApiModel, Int64, ObjectMeta, list_map
from vmcp.api.references import CABundleRef, GroupRef
from vmcp.api.remoteendpoint import RemoteEndpoint
from vmcp.api.virtualmcpserver import BackendTransport


class EntryPhase(StrEnum):
    """The entry in one word."""

    VALID = "Valid"
    PENDING = "Pending"
    FAILED = "Failed"


class MCPServerEntrySpec(RemoteEndpoint):
    """Where the endpoint is and how to call it."""

    group_ref: GroupRef = Field(description="The MCPGroup that it belongs to, in the same namespace.")
    transport: BackendTransport = Field(description="How MCP is carried to it: streamable-http or sse.")
    ca_bundle_ref: CABundleRef | None = Field(None, description="Certificates to trust for it.")


class MCPServerEntryStatus(ApiModel):
    """What is seen of the entry."""

    phase: EntryPhase = Field(EntryPhase.PENDING, description="Valid, Pending or Failed.")
    observed_generation: Int64 | None = Field(None, description="Generation of the spec that was seen.")
    conditions: list[Condition] | None = Field(
        None, description="What is known in detail.", json_schema_extra=list_map("type")
    )


class MCPServerEntry(ApiModel):
    """A remote MCP endpoint as a member of a group; nothing is deployed for it."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: Literal["MCPServerEntry"] = "MCPServerEntry"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: MCPServerEntrySpec = Field(description="Where the endpoint is and how to call it.")
    status: MCPServerEntryStatus | None = Field(None, description="What is seen of the entry.")
