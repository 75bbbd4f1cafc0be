"""MCPServer: an MCP server that runs in the cluster, as a member of a group."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from vmcp.api.auth import AUTHZ_EXCLUSIVE, AuthzConfig
from vmcp.api.conditions import Condition
from vmcp.api.kinds import GROUP, VERSION
from vmcp.api.model import ApiModel, Int32, Int64, ObjectMeta, OpenObject, cel, list_map, rules
from vmcp.api.ratelimit import RateLimiting
from vmcp.api.references import (
    GroupRef,
    ImagePullSecret,
    NameRef,
    NonEmptyNameRef,
    OIDCConfigRef,
    TelemetryConfigRef,
)
from vmcp.api.session import SessionAffinity, SessionStorage

Port = Annotated[Int32, Field(ge=1, le=65535)]
Count = Annotated[Int32, Field(ge=0)]


class ServerTransport(StrEnum):
    """How the server's own process speaks MCP."""

    STDIO = "stdio"
    STREAMABLE_HTTP = "streamable-http"
    SSE = "sse"


class ProxyMode(StrEnum):
    """How a stdio server is offered to clients."""

    SSE = "sse"
    STREAMABLE_HTTP = "streamable-http"


class ServerPhase(StrEnum):
    """The server in one word."""

    PENDING = "Pending"
    READY = "Ready"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    STOPPED = "Stopped"


class AuthServerRef(ApiModel):
    """An authorization server."""

    kind: Literal["MCPExternalAuthConfig"] = Field("MCPExternalAuthConfig", description="Kind of the object.")
    name: str = Field(min_length=1, description="Name of the object.")


class EnvVar(ApiModel):
    """An environment variable."""

    name: str = Field(description="Name of the variable.")
    value: str = Field(description="Value of the variable.")


class SecretEnv(ApiModel):
    """A key of a Secret as an environment variable."""

    name: str = Field(description="Name of the Secret.")
    key: str = Field(description="Key within the Secret.")
    target_env_name: str | None = Field(None, description="Name of the variable. Unset = the key.")


class HostVolume(ApiModel):
    """A folder of the node."""

    name: str = Field(description="Name of the volume.")
    host_path: str = Field(description="Folder on the node.")
    mount_path: str = Field(description="Folder in the container.")
    read_only: bool = Field(False, description="Whether it is mounted read-only. Default false.")


class PermissionProfile(ApiModel):
    """What the server's process may do."""

    type: Literal["builtin", "configmap"] = Field("builtin", description="builtin or configmap. Default builtin.")
    name: str = Field(description="Name of the profile, or of the ConfigMap that holds it.")
    key: str | None = Field(None, description="Key within the ConfigMap.")


class ResourceQuantities(ApiModel):
    """Amounts of CPU and memory."""

    cpu: str | None = Field(None, description="CPU, such as 500m.")
    memory: str | None = Field(None, description="Memory, such as 128Mi.")


class Resources(ApiModel):
    """What the container may and must have."""

    limits: ResourceQuantities | None = Field(None, description="What it may have.")
    requests: ResourceQuantities | None = Field(None, description="What it must have.")


class MetadataOverrides(ApiModel):
    """Labels and annotations added to an object."""

    labels: dict[str, str] | None = Field(None, description="Labels to add.")
    annotations: dict[str, str] | None = Field(None, description="Annotations to add.")


class ProxyDeploymentOverrides(MetadataOverrides):
    """What is added to the proxy's Deployment."""

    env: list[EnvVar] | None = Field(
        None, description="Environment variables to add.", json_schema_extra=list_map("name")
    )
    image_pull_secrets: list[ImagePullSecret] | None = Field(None, description="Image pull secrets to add.")
    pod_template_metadata_overrides: MetadataOverrides | None = Field(
        None, description="Labels and annotations to add to its pods."
    )


class ResourceOverrides(ApiModel):
    """What is added to the objects made for the server."""

    proxy_deployment: ProxyDeploymentOverrides | None = Field(None, description="What is added to the Deployment.")
    proxy_service: MetadataOverrides | None = Field(None, description="What is added to the Service.")


class ServerAudit(ApiModel):
    """A record of who called what."""

    enabled: bool = Field(False, description="Whether records are written. Default false.")


class MCPServerSpec(ApiModel):
    """What runs, and how it is reached."""

    model_config = rules(
        AUTHZ_EXCLUSIVE,
        cel(
            "!has(self.rateLimiting) || (has(self.sessionStorage) && self.sessionStorage.provider == 'redis')",
            "rateLimiting requires sessionStorage with provider 'redis'",
        ),
        cel(
            "!(has(self.rateLimiting) && has(self.rateLimiting.perUser)) || "
            "has(self.oidcConfigRef) || has(self.externalAuthConfigRef)",
            "rateLimiting.perUser requires authentication (oidcConfigRef or externalAuthConfigRef)",
        ),
        cel(
            "!has(self.rateLimiting) || !has(self.rateLimiting.tools) || "
            "self.rateLimiting.tools.all(t, !has(t.perUser)) || "
            "has(self.oidcConfigRef) || has(self.externalAuthConfigRef)",
            "per-tool perUser rate limiting requires authentication (oidcConfigRef or externalAuthConfigRef)",
        ),
    )

    image: str = Field(description="Image of the MCP server.")
    args: list[str] | None = Field(None, description="Arguments of the MCP server.")
    audit: ServerAudit | None = Field(None, description="A record of who called what.")
    auth_server_ref: AuthServerRef | None = Field(None, description="An authorization server.")
    authz_config: AuthzConfig | None = Field(None, description="What a caller may do.")
    authz_config_ref: NonEmptyNameRef | None = Field(None, description="A shared MCPAuthzConfig.")
    backend_replicas: Count | None = Field(
        None, description="Number of server pods. Unset = left alone; a stdio server has one."
    )
    endpoint_prefix: str | None = Field(None, description="What the endpoint's path starts with.")
    env: list[EnvVar] | None = Field(
        None, description="Environment variables of the MCP server.", json_schema_extra=list_map("name")
    )
    external_auth_config_ref: NameRef | None = Field(
        None, description="MCPExternalAuthConfig that says how to identify oneself to what is behind it."
    )
    group_ref: GroupRef | None = Field(None, description="The MCPGroup that it belongs to, in the same namespace.")
    mcp_port: Port | None = Field(None, description="Port that the MCP server listens on. Unset = 8080.")
    oidc_config_ref: OIDCConfigRef | None = Field(None, description="How tokens of callers are checked.")
    permission_profile: PermissionProfile | None = Field(None, description="What the server's process may do.")
    pod_template_spec: OpenObject | None = Field(
        None, description="Changes to the server's pod, merged over what is made; the container is mcp."
    )
    proxy_mode: ProxyMode = Field(
        ProxyMode.STREAMABLE_HTTP,
        description="How a stdio server is offered to clients. Default streamable-http.",
    )
    proxy_port: Port = Field(8080, description="Port that clients reach it at. Default 8080.")
    rate_limiting: RateLimiting | None = Field(None, description="Limits on calls.")
    replicas: Count | None = Field(None, description="0 = it is stopped. There is one proxy, of a stdio server only.")
    resource_overrides: ResourceOverrides | None = Field(
        None, description="What is added to the objects made for the server."
    )
    resources: Resources | None = Field(None, description="What the container may and must have.")
    secrets: list[SecretEnv] | None = Field(
        None, description="Secrets as environment variables.", json_schema_extra=list_map("name")
    )
    service_account: str | None = Field(
        None, description="ServiceAccount of the server's pod. Unset = the namespace's default, without its token."
    )
    session_affinity: SessionAffinity = Field(
        SessionAffinity.CLIENT_IP, description="Whether a client stays with one pod. Default ClientIP."
    )
    session_storage: SessionStorage | None = Field(None, description="Where sessions are stored. Unset = memory.")
    telemetry_config_ref: TelemetryConfigRef | None = Field(None, description="A shared MCPTelemetryConfig.")
    tool_config_ref: NameRef | None = Field(None, description="A shared MCPToolConfig.")
    transport: ServerTransport = Field(
        ServerTransport.STDIO, description="How the server's own process speaks MCP. Default stdio."
    )
    trust_proxy_headers: bool = Field(
        False, description="Whether X-Forwarded headers of a proxy in front are believed. Default false."
    )
    volumes: list[HostVolume] | None = Field(
        None, description="Folders of the node.", json_schema_extra=list_map("name")
    )
    webhook_config_ref: NameRef | None = Field(None, description="A shared MCPWebhookConfig.")


class MCPServerStatus(ApiModel):
    """What is seen of the server."""

    phase: ServerPhase | None = Field(None, description="Pending, Ready, Failed, Terminating or Stopped.")
    message: str | None = Field(None, description="The phase in a sentence.")
    url: str | None = Field(None, description="URL of the server within the cluster.")
    ready_replicas: Int32 | None = Field(None, description="Number of pods that are ready.")
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
    webhook_config_hash: str | None = Field(None, description="Hash of the webhook configuration in use.")


class MCPServer(ApiModel):
    """An MCP server that runs in the cluster, as a member of a group."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: Literal["MCPServer"] = "MCPServer"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: MCPServerSpec = Field(description="What runs, and how it is reached.")
    status: MCPServerStatus | None = Field(None, description="What is seen of the server.")
