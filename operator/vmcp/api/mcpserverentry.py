"""MCPServerEntry: a remote MCP endpoint as a member of a group; nothing is deployed for it."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from vmcp.api.conditions import Condition
from vmcp.api.kinds import GROUP, VERSION
from vmcp.api.model import ApiModel, Int64, ObjectMeta, list_map
from vmcp.api.references import CABundleRef, GroupRef, NameRef, SecretKeyRef
from vmcp.api.virtualmcpserver import BackendTransport


class EntryPhase(StrEnum):
    """The entry in one word."""

    VALID = "Valid"
    PENDING = "Pending"
    FAILED = "Failed"


class HeaderFromSecret(ApiModel):
    """A header whose value is in a Secret."""

    header_name: str = Field(min_length=1, max_length=255, description="Name of the header.")
    value_secret_ref: SecretKeyRef = Field(description="Secret that holds the value.")


class HeaderForward(ApiModel):
    """Headers that are sent with every request to the endpoint."""

    add_plaintext_headers: dict[str, str] | None = Field(
        None, description="Headers by name. The values are readable by anyone who may read this object."
    )
    add_headers_from_secret: list[HeaderFromSecret] | None = Field(
        None, description="Headers whose values are in Secrets.", json_schema_extra=list_map("headerName")
    )


class MCPServerEntrySpec(ApiModel):
    """Where the endpoint is and how to call it."""

    group_ref: GroupRef = Field(description="The MCPGroup that it belongs to, in the same namespace.")
    remote_url: str = Field(pattern=r"^https?://", description="URL of the MCP endpoint, http:// or https://.")
    transport: BackendTransport = Field(description="How MCP is carried to it: streamable-http or sse.")
    allow_private_endpoint: bool = Field(
        False,
        description="Whether it may be on a private address outside the cluster's services. Default false.",
    )
    ca_bundle_ref: CABundleRef | None = Field(None, description="Certificates to trust for it.")
    external_auth_config_ref: NameRef | None = Field(
        None, description="MCPExternalAuthConfig that says how the gateway identifies itself to it."
    )
    header_forward: HeaderForward | None = Field(
        None, description="Headers that are sent with every request to the endpoint."
    )


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
