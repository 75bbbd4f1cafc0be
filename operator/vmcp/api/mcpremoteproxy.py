"""MCPRemoteProxy: a remote MCP endpoint as a member of a group. No proxy runs for it: gateways connect themselves."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from vmcp.api.auth import AUTHZ_EXCLUSIVE, AuthzConfig
from vmcp.api.conditions import Condition
from vmcp.api.kinds import GROUP, VERSION
from vmcp.api.mcpserver import AuthServerRef, Port, ResourceOverrides, Resources, ServerAudit
from vmcp.api.model import ApiModel, Int32, Int64, ObjectMeta, OpenObject, list_map, rules
from vmcp.api.references import GroupRef, NameRef, NonEmptyNameRef, OIDCConfigRef, TelemetryConfigRef
from vmcp.api.remoteendpoint import RemoteEndpoint
from vmcp.api.session import SessionAffinity, SessionStorage
from vmcp.api.virtualmcpserver import BackendTransport


class ProxyPhase(StrEnum):
    """The proxy in one word."""

    PENDING = "Pending"
    READY = "Ready"
    FAILED = "Failed"
    TERMINATING = "Terminating"


class MCPRemoteProxySpec(RemoteEndpoint):
    """Where the endpoint is and how to call it."""

    model_config = rules(AUTHZ_EXCLUSIVE)

    transport: BackendTransport = Field(
        BackendTransport.STREAMABLE_HTTP,
        description="How MCP is carried to it: streamable-http or sse. Default streamable-http.",
    )
    group_ref: GroupRef | None = Field(None, description="The MCPGroup that it belongs to, in the same namespace.")
    audit: ServerAudit | None = Field(None, description="A record of who called what.")
    auth_server_ref: AuthServerRef | None = Field(None, description="An authorization server.")
    authz_config: AuthzConfig | None = Field(None, description="What a caller may do.")
    authz_config_ref: NonEmptyNameRef | None = Field(None, description="A shared MCPAuthzConfig.")
    endpoint_prefix: str | None = Field(None, description="What the path of a proxy's endpoint starts with.")
    oidc_config_ref: OIDCConfigRef | None = Field(None, description="How tokens of callers are checked.")
    pod_template_spec: OpenObject | None = Field(None, description="Changes to a proxy's pod.")
    proxy_port: Port = Field(8080, description="Port of a proxy. Default 8080.")
    replicas: Annotated[Int32, Field(ge=0)] | None = Field(None, description="Number of a proxy's pods.")
    resource_overrides: ResourceOverrides | None = Field(
        None, description="What is added to the objects made for a proxy."
    )
    resources: Resources | None = Field(None, description="What a proxy's container may and must have.")
    service_account: str | None = Field(None, description="ServiceAccount of a proxy's pod.")
    session_affinity: SessionAffinity = Field(
        SessionAffinity.CLIENT_IP, description="Whether a client stays with one pod of a proxy. Default ClientIP."
    )
    session_storage: SessionStorage | None = Field(None, description="Where a proxy's sessions are stored.")
    telemetry_config_ref: TelemetryConfigRef | None = Field(None, description="A shared MCPTelemetryConfig.")
    tool_config_ref: NameRef | None = Field(None, description="A shared MCPToolConfig.")
    trust_proxy_headers: bool = Field(
        False, description="Whether a proxy believes X-Forwarded headers of one in front of it. Default false."
    )


class MCPRemoteProxyStatus(ApiModel):
    """What is seen of the proxy."""

    phase: ProxyPhase | None = Field(None, description="Pending, Ready, Failed or Terminating.")
    message: str | None = Field(None, description="The phase in a sentence.")
    url: str | None = Field(None, description="URL that gateways connect to: spec.remoteUrl.")
    external_url: str | None = Field(None, description="URL of a proxy outside of the cluster; never set here.")
    observed_generation: Int64 | None = Field(None, description="Generation of the spec that was seen.")
    conditions: list[Condition] | None = Field(
        None, description="What is known in detail.", json_schema_extra=list_map("type")
    )
    auth_server_config_hash: str | None = Field(None, description="Hash of the authorization server in use.")
    authz_config_hash: str | None = Field(None, description="Hash of the authorization in use.")
    external_auth_config_hash: str | None = Field(None, description="Hash of the outgoing auth in use.")
    oidc_config_hash: str | None = Field(None, description="Hash of the OIDC configuration in use.")
    telemetry_config_hash: str | None = Field(None, description="Hash of the telemetry configuration in use.")
    tool_config_hash: str | None = Field(None, description="Hash of the tool configuration in use.")


class MCPRemoteProxy(ApiModel):
    """A remote MCP endpoint as a member of a group; no proxy runs for it, gateways connect to it themselves."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: Literal["MCPRemoteProxy"] = "MCPRemoteProxy"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: MCPRemoteProxySpec = Field(description="Where the endpoint is and how to call it.")
    status: MCPRemoteProxyStatus | None = Field(None, description="What is seen of the proxy.")
