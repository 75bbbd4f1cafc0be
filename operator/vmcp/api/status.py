"""`.status` of a VirtualMCPServer: phase, conditions and every backend behind it."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from vmcp.api.category import ErrorCategory
from vmcp.api.conditions import Condition
from vmcp.api.model import ApiModel, Instant, Int32, Int64, Timestamp, list_map
from vmcp.api.operational import OverrideMode

MAX_TRANSITIONS = 5
MAX_HANDLED_REQUESTS = 20


class Phase(StrEnum):
    """The whole in one word."""

    PENDING = "Pending"
    READY = "Ready"
    DEGRADED = "Degraded"
    FAILED = "Failed"


class BackendStatus(StrEnum):
    """Health of a backend, as the CR calls it."""

    READY = "ready"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    UNAUTHENTICATED = "unauthenticated"


class CircuitState(StrEnum):
    """State of a backend's circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


def _known(value: Any) -> Any:
    return value if value in list(BackendStatus) else BackendStatus.UNKNOWN


# No enum in the schema: the compatible field is a free string.
FreeBackendStatus = Annotated[BackendStatus, BeforeValidator(_known), WithJsonSchema({"type": "string"})]


class CircuitTransition(ApiModel):
    """A change of a circuit."""

    time: Instant = Field(description="When it changed.")
    before: CircuitState = Field(alias="from", description="State before.")
    after: CircuitState = Field(alias="to", description="State after.")
    reason: str = Field(description="Why it changed.")


class OverrideStatus(ApiModel):
    """What a person overrules of a backend, while it is in force."""

    mode: OverrideMode = Field(description="forcedOpen, forcedClosed or disabled.")
    since: Instant = Field(description="Since when it is in force.")
    until: Instant | None = Field(None, description="When it ends by itself; unset = when it is removed.")
    reason: str | None = Field(None, description="Why, as the person wrote.")


class RequestAction(StrEnum):
    """A one-off act that an annotation asks for."""

    RESET = "reset"
    """Forget the failures and end an open time early."""
    PROBE_NOW = "probe-now"
    """Check now; ends an open time early."""


class HandledRequest(ApiModel):
    """A one-off act that was asked for by annotation and has been done; it is not done again."""

    action: RequestAction = Field(description="reset or probe-now.")
    backend: str = Field(description="Name of the backend; * = all of them.")
    token: str = Field(description="The token that the annotation gave; another one asks again.")
    time: Timestamp = Field(description="When it was done.")


class DiscoveredBackend(ApiModel):
    """One backend and what is known of it."""

    name: str = Field(description="Name of the backend.")
    url: str | None = Field(None, description="URL of its MCP endpoint.")
    status: FreeBackendStatus | None = Field(
        None,
        description="ready, degraded, unavailable, unknown or unauthenticated. ready, degraded and unknown "
        "ones are "
        "used while their circuit is closed.",
    )
    message: str | None = Field(None, description="What a person should know about it.")
    auth_type: str | None = Field(None, description="How the gateway identifies itself to it.")
    auth_config_ref: str | None = Field(None, description="MCPExternalAuthConfig that says so.")
    last_health_check: Timestamp | None = Field(
        None, description="When it was last checked, as of the last write of this status."
    )
    consecutive_failures: int | None = Field(None, description="Failed checks in a row.")
    circuit_breaker_state: CircuitState | None = Field(
        None,
        description="closed = used; open = out of use until circuitOpenUntil; half-open = being tried by checks.",
    )
    circuit_last_changed: Timestamp | None = Field(None, description="When the circuit last changed.")
    circuit_open_until: Instant | None = Field(None, description="When an open circuit is tried again.")
    circuit_reopen_count: Int32 | None = Field(
        None, ge=0, description="How often the circuit has reopened in a row without closing."
    )
    latency_millis: Int64 | None = Field(None, ge=0, description="Time that the last answer took, in milliseconds.")
    error_category: ErrorCategory | None = Field(None, description="Why the last check did not simply succeed.")
    mcp_revision: str | None = Field(None, description="Revision of MCP that it speaks, such as 2025-11-25.")
    target_fingerprint: str | None = Field(
        None,
        description="Short hash of URL, transport and auth reference; a changed one starts a fresh record.",
    )
    override: OverrideStatus | None = Field(
        None, description="What a person overrules of it (failureHandling.perBackend); unset = nothing."
    )
    transitions: list[CircuitTransition] | None = Field(
        None,
        max_length=MAX_TRANSITIONS,
        description="The last changes of the circuit, oldest first, at most 5.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class VirtualMCPServerStatus(ApiModel):
    """What is seen of the gateway and its backends."""

    phase: Phase = Field(
        Phase.PENDING,
        description="Pending, Ready (all backends are used), Degraded (some are out of use) or Failed.",
    )
    message: str | None = Field(None, description="The phase in a sentence.")
    url: str | None = Field(None, description="URL of the gateway within the cluster; MCP is at /mcp.")
    backend_count: Int32 | None = Field(None, description="Number of backends that are known to work and are used.")
    observed_generation: Int64 | None = Field(
        None, description="Generation of the spec whose objects are applied and whose backends are watched."
    )
    conditions: list[Condition] | None = Field(
        None, description="What is known in detail.", json_schema_extra=list_map("type")
    )
    discovered_backends: list[DiscoveredBackend] | None = Field(
        None, description="Every backend and what is known of it.", json_schema_extra=list_map("name")
    )
    last_report_time: Timestamp | None = Field(
        None,
        description="When this status was last written; a gateway that finds it too old decides by itself.",
    )
    handled_requests: list[HandledRequest] | None = Field(
        None,
        max_length=MAX_HANDLED_REQUESTS,
        description="The last one-off acts that annotations asked for, oldest first, at most 20.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    authz_config_hash: str | None = Field(None, description="Hash of the authorization that is in use.")
    oidc_config_hash: str | None = Field(None, description="Hash of the OIDC configuration that is in use.")
    telemetry_config_hash: str | None = Field(None, description="Hash of the telemetry configuration that is in use.")
