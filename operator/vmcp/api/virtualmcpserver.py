"""VirtualMCPServer: one MCP endpoint over a group of backends."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from vmcp.api.aggregation import Aggregation
from vmcp.api.auth import ConfigIncomingAuth, ConfigOutgoingAuth, IncomingAuth, OutgoingAuth
from vmcp.api.features import Audit, CodeMode, CompositeTool, Optimizer, Telemetry
from vmcp.api.kinds import GROUP, VERSION
from vmcp.api.model import ApiModel, Int32, ObjectMeta, OpenObject, cel, list_map, rules
from vmcp.api.operational import Operational
from vmcp.api.ratelimit import RateLimiting
from vmcp.api.references import GroupRef, ImagePullSecret, NameRef, TelemetryConfigRef
from vmcp.api.session import ConfigSessionStorage, SessionAffinity, SessionStorage
from vmcp.api.status import VirtualMCPServerStatus


class BackendTransport(StrEnum):
    """How MCP is carried to a backend."""

    STREAMABLE_HTTP = "streamable-http"
    SSE = "sse"


class ServiceType(StrEnum):
    """How the gateway's Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class Backend(ApiModel):
    """A backend written into the spec instead of being a member of the group."""

    name: str = Field(description="Name of the backend, unique in the list.")
    url: str = Field(pattern=r"^https?://", description="URL of its MCP endpoint, http:// or https://.")
    transport: BackendTransport = Field(description="How MCP is carried to it: streamable-http or sse.")
    type: Literal["entry", ""] | None = Field(
        None,
        description="entry = it is a remote endpoint, called directly; empty = a workload of the cluster.",
    )
    ca_bundle_path: str | None = Field(None, description="File with the certificates to trust for it.")
    metadata: dict[str, str] | None = Field(None, description="Anything worth knowing about it.")


class GatewaySettings(ApiModel):
    """What `spec.config` and the gateway's config.yaml have in common."""

    aggregation: Aggregation | None = Field(None, description="How the tools of several backends become one list.")
    allowed_hosts: list[str] | None = Field(
        None,
        description="Host names, without port, under which clients reach the gateway beside addresses and names "
        "within the cluster. Set = a request for any other host is refused, and web pages of these hosts may call.",
    )
    audit: Audit | None = Field(None, description="A record of who called what.")
    code_mode: CodeMode | None = Field(None, description="Lets a client run a small program over tools.")
    composite_tool_refs: list[NameRef] | None = Field(None, description="Shared composite tool definitions.")
    composite_tools: list[CompositeTool] | None = Field(None, description="Tools made of several calls.")
    incoming_auth: ConfigIncomingAuth | None = Field(
        None, description="Resolved form of spec.incomingAuth; set spec.incomingAuth instead."
    )
    metadata: dict[str, str] | None = Field(None, description="Anything worth knowing about the gateway.")
    operational: Operational | None = Field(
        None, description="How the gateway and the health checks of its backends behave."
    )
    optimizer: Optimizer | None = Field(None, description="Finds tools by meaning instead of listing them all.")
    outgoing_auth: ConfigOutgoingAuth | None = Field(
        None, description="Resolved form of spec.outgoingAuth; set spec.outgoingAuth instead."
    )
    passthrough_headers: list[str] | None = Field(
        None,
        description="Headers of a caller that are passed on to every backend: what is not listed never is. Headers of "
        "HTTP and MCP themselves, Authorization and cookies cannot be listed.",
    )
    rate_limiting: RateLimiting | None = Field(None, description="Limits on calls.")
    session_storage: ConfigSessionStorage | None = Field(
        None, description="Resolved form of spec.sessionStorage; set spec.sessionStorage instead."
    )
    telemetry: Telemetry | None = Field(None, description="Traces and metrics of the gateway.")


class VirtualMCPServerConfig(GatewaySettings):
    """How the gateway works."""

    name: str | None = Field(None, description="Name of the gateway; the object's name where unset.")
    group_ref: str | None = Field(None, description="Name of the MCPGroup; spec.groupRef where unset.")
    backends: list[Backend] | None = Field(
        None,
        description="Backends written here, beside the members of the group.",
        json_schema_extra=list_map("name"),
    )


class VirtualMCPServerSpec(ApiModel):
    """What the gateway should be."""

    model_config = rules(
        cel(
            "!has(self.config) || !has(self.config.rateLimiting) || "
            "(has(self.sessionStorage) && self.sessionStorage.provider == 'redis')",
            "config.rateLimiting requires sessionStorage with provider 'redis'",
        ),
        cel(
            "!(has(self.config) && has(self.config.rateLimiting) && has(self.config.rateLimiting.perUser)) "
            "|| "
            "(has(self.incomingAuth) && self.incomingAuth.type == 'oidc')",
            "config.rateLimiting.perUser requires incomingAuth.type oidc",
        ),
        cel(
            "!has(self.config) || !has(self.config.rateLimiting) || !has(self.config.rateLimiting.tools) || "
            "self.config.rateLimiting.tools.all(t, !has(t.perUser)) || "
            "(has(self.incomingAuth) && self.incomingAuth.type == 'oidc')",
            "per-tool perUser rate limiting requires incomingAuth.type oidc",
        ),
        cel(
            "!(has(self.embeddingServerRef) && has(self.config) && has(self.config.optimizer) && "
            "has(self.config.optimizer.embeddingProvider) && self.config.optimizer.embeddingProvider == "
            "'openai')",
            "embeddingServerRef provisions a managed TEI server and cannot be combined with optimizer."
            "embeddingProvider 'openai'; openai mode uses embeddingService directly",
        ),
    )

    group_ref: GroupRef = Field(description="The MCPGroup whose members are the backends, in the same namespace.")
    incoming_auth: IncomingAuth = Field(description="Who may call the gateway.")
    config: VirtualMCPServerConfig | None = Field(None, description="How the gateway works.")
    outgoing_auth: OutgoingAuth | None = Field(None, description="How the gateway identifies itself to backends.")
    auth_server_config: OpenObject | None = Field(None, description="An authorization server within the gateway.")
    embedding_server_ref: NameRef | None = Field(None, description="A managed EmbeddingServer for the optimizer.")
    image_pull_secrets: list[ImagePullSecret] | None = Field(
        None, description="Secrets with credentials for the image registry."
    )
    passthrough_headers: list[str] | None = Field(
        None,
        description="Headers of a caller that are passed on to every backend: what is not listed never is. Headers of "
        "HTTP and MCP themselves, Authorization and cookies cannot be listed.",
    )
    pod_template_spec: OpenObject | None = Field(
        None,
        description="Changes to the gateway's pod, merged over what the operator makes; the container is vmcp.",
    )
    replicas: Annotated[Int32, Field(ge=0)] | None = Field(
        None, description="Number of gateway pods. Unset = left alone, for a HorizontalPodAutoscaler to set."
    )
    service_account: str | None = Field(None, description="ServiceAccount of the pod. Unset = one is made.")
    service_type: ServiceType = Field(
        ServiceType.CLUSTER_IP, description="How the Service is reached. Default ClusterIP."
    )
    session_affinity: SessionAffinity = Field(
        SessionAffinity.CLIENT_IP, description="Whether a client stays with one pod. Default ClientIP."
    )
    session_storage: SessionStorage | None = Field(None, description="Where sessions are stored. Unset = memory.")
    telemetry_config_ref: TelemetryConfigRef | None = Field(None, description="A shared MCPTelemetryConfig.")


class VirtualMCPServer(ApiModel):
    """One MCP endpoint over a group of backends, kept to those that work."""

    api_version: str = f"{GROUP}/{VERSION}"
    kind: Literal["VirtualMCPServer"] = "VirtualMCPServer"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: VirtualMCPServerSpec = Field(description="What the gateway should be.")
    status: VirtualMCPServerStatus | None = Field(None, description="What is seen of it.")
