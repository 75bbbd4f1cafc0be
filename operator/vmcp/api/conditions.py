"""Condition types and their reasons, as they are written into `.status.conditions`."""

from enum import StrEnum

from pydantic import Field

from vmcp.api.model import ApiModel, Int64, Timestamp


class ConditionType(StrEnum):
    """What a condition is about."""

    VALID = "Valid"
    READY = "Ready"
    DEGRADED = "Degraded"
    STALLED = "Stalled"
    FEATURES_SUPPORTED = "FeaturesSupported"
    PROBING_HEALTHY = "ProbingHealthy"
    GROUP_REF_VALIDATED = "GroupRefValidated"
    COMPOSITE_TOOL_REFS_VALIDATED = "CompositeToolRefsValidated"
    POD_TEMPLATE_SPEC_VALID = "PodTemplateSpecValid"
    BACKENDS_DISCOVERED = "BackendsDiscovered"
    BACKEND_OVERRIDES_MATCHED = "BackendOverridesMatched"
    TOOL_RULES_MATCHED = "ToolRulesMatched"
    REQUESTS_UNDERSTOOD = "RequestsUnderstood"
    OBJECTS_UNCONTESTED = "ObjectsUncontested"
    AUTH_CONFIGURED = "AuthConfigured"
    OIDC_CONFIG_REF_VALIDATED = "OIDCConfigRefValidated"
    AUTHZ_CONFIG_REF_VALIDATED = "AuthzConfigRefValidated"
    TELEMETRY_CONFIG_REF_VALIDATED = "TelemetryConfigRefValidated"
    EMBEDDING_SERVER_READY = "EmbeddingServerReady"
    SESSION_STORAGE_WARNING = "SessionStorageWarning"
    MCP_SERVERS_CHECKED = "MCPServersChecked"
    MANAGED = "Managed"


class Reason(StrEnum):
    """Why a condition has its status."""

    # Ready
    ALL_BACKENDS_ROUTABLE = "AllBackendsRoutable"
    SOME_BACKENDS_UNHEALTHY = "SomeBackendsUnhealthy"
    NO_ROUTABLE_BACKENDS = "NoRoutableBackends"
    BACKENDS_PENDING = "BackendsPending"
    DEPLOYMENT_NOT_READY = "DeploymentNotReady"
    DEPLOYMENT_FAILED = "DeploymentFailed"
    NAME_CONFLICT = "NameConflict"
    FOREIGN_CONTROLLER = "ForeignController"
    RECONCILE_FAILED = "ReconcileFailed"
    # Ready of an MCPRemoteProxy
    ENDPOINT_USABLE = "EndpointUsable"
    # Valid
    VALIDATION_SUCCEEDED = "ValidationSucceeded"
    VALIDATION_FAILED = "ValidationFailed"
    # references
    GROUP_REF_VALID = "GroupRefValid"
    GROUP_REF_NOT_FOUND = "GroupRefNotFound"
    GROUP_REF_NOT_READY = "GroupRefNotReady"
    COMPOSITE_TOOL_REFS_VALID = "CompositeToolRefsValid"
    COMPOSITE_TOOL_REF_NOT_FOUND = "CompositeToolRefNotFound"
    COMPOSITE_TOOL_REF_INVALID = "CompositeToolRefInvalid"
    POD_TEMPLATE_SPEC_VALID = "PodTemplateSpecValid"
    INVALID_POD_TEMPLATE_SPEC = "InvalidPodTemplateSpec"
    INCOMING_AUTH_VALID = "IncomingAuthValid"
    INCOMING_AUTH_INVALID = "IncomingAuthInvalid"
    BACKENDS_DISCOVERED = "BackendsDiscovered"
    BACKENDS_LEFT_OUT = "BackendsLeftOut"
    # Degraded, Stalled, FeaturesSupported, SessionStorageWarning, ProbingHealthy
    ALL_BACKENDS_HEALTHY = "AllBackendsHealthy"
    BACKENDS_DEGRADED = "BackendsDegraded"
    NEEDS_ATTENTION = "NeedsAttention"
    PROGRESSING = "Progressing"
    ALL_SUPPORTED = "AllSupported"
    LEFT_OUT = "LeftOut"
    SESSION_STORAGE_CONFIGURED = "SessionStorageConfigured"
    SESSION_STORAGE_MISSING = "SessionStorageMissingForReplicas"
    SESSION_STORAGE_NOT_APPLICABLE = "SessionStorageWarningNotApplicable"
    PROBES_TRUSTED = "ProbesTrusted"
    PROBES_DOUBTED = "ProbesDoubted"
    # BackendOverridesMatched, ToolRulesMatched, RequestsUnderstood
    ALL_NAMES_MATCHED = "AllNamesMatched"
    NAMES_WITHOUT_BACKEND = "NamesWithoutBackend"
    RULES_WITHOUT_EFFECT = "RulesWithoutEffect"
    REQUESTS_HANDLED = "RequestsHandled"
    REQUESTS_MALFORMED = "RequestsMalformed"
    # MCPServer; beside these, Ready may carry the kubelet's own reason, such as ErrImagePull
    PODS_READY = "PodsReady"
    PODS_NOT_READY = "PodsNotReady"
    PROXY_NOT_READY = "ProxyNotReady"
    PROXY_FAILED = "ProxyFailed"
    SCALED_TO_ZERO = "ScaledToZero"
    FAILED_CREATE = "FailedCreate"
    UNSCHEDULABLE = "Unschedulable"
    TERMINATING = "Terminating"
    # ObjectsUncontested
    FIELDS_CONTESTED = "FieldsContested"
    # MCPGroup
    LIST_MCP_SERVERS_CHECK_SUCCEEDED = "ListMCPServersCheckSucceeded"
    LIST_MCP_SERVERS_CHECK_FAILED = "ListMCPServersCheckFailed"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One thing that is known about the object."""

    type: str = Field(
        max_length=316,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        description="What the condition is about.",
    )
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="Why, in one word for programs.",
    )
    message: str = Field(max_length=32768, description="Why, in a sentence for people.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")
    observed_generation: Int64 | None = Field(None, ge=0, description="Generation of the spec it speaks of.")
