"""Who may call the gateway (`incomingAuth`), and who it is to its backends (`outgoingAuth`)."""

from enum import StrEnum

from pydantic import Field

from vmcp.api.model import ApiModel, OpenModel, cel, rules
from vmcp.api.references import NameRef, NonEmptyNameRef, OIDCConfigRef, ProviderName

AUTHZ_EXCLUSIVE = cel(
    "!(has(self.authzConfig) && has(self.authzConfigRef))",
    "authzConfig and authzConfigRef are mutually exclusive; use authzConfigRef to reference a shared MCPAuthzConfig",
)


class IncomingAuthType(StrEnum):
    """How callers are authenticated."""

    ANONYMOUS = "anonymous"
    OIDC = "oidc"


class AuthzType(StrEnum):
    """Where the authorization policies are."""

    CONFIG_MAP = "configMap"
    INLINE = "inline"


class OutgoingSource(StrEnum):
    """Where outgoing auth is configured."""

    DISCOVERED = "discovered"
    INLINE = "inline"


class BackendAuthType(StrEnum):
    """How the gateway identifies itself to one backend."""

    DISCOVERED = "discovered"
    EXTERNAL_AUTH_CONFIG_REF = "externalAuthConfigRef"


class AuthzConfigMap(ApiModel):
    """Policies in a ConfigMap."""

    name: str = Field(description="Name of the ConfigMap.")
    key: str = Field("authz.json", description="Key within the ConfigMap. Default authz.json.")


class InlineAuthz(ApiModel):
    """Policies written here."""

    policies: list[str] = Field(min_length=1, description="Cedar policies.")
    entities_json: str = Field("[]", description="Cedar entities as JSON. Default [].")
    primary_upstream_provider: ProviderName | None = Field(
        None, description="Upstream provider whose token the policies see."
    )


class AuthzConfig(ApiModel):
    """What a caller may do."""

    model_config = rules(
        cel(
            "self.type == 'configMap' ? has(self.configMap) : !has(self.configMap)",
            "configMap must be set when type is 'configMap', and must not be set otherwise",
        ),
        cel(
            "self.type == 'inline' ? has(self.inline) : !has(self.inline)",
            "inline must be set when type is 'inline', and must not be set otherwise",
        ),
    )

    type: AuthzType = Field(AuthzType.CONFIG_MAP, description="Where the policies are. Default configMap.")
    config_map: AuthzConfigMap | None = Field(None, description="Policies in a ConfigMap; with type configMap.")
    inline: InlineAuthz | None = Field(None, description="Policies written here; with type inline.")
    group_claim_name: str | None = Field(None, max_length=253, description="Claim that holds the caller's groups.")
    group_entity_type: str | None = Field(
        None, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Cedar entity type of a group."
    )
    role_claim_name: str | None = Field(None, max_length=253, description="Claim that holds the caller's roles.")


class IncomingAuth(ApiModel):
    """Who may call the gateway."""

    model_config = rules(
        cel(
            "self.type == 'oidc' ? has(self.oidcConfigRef) : true",
            "spec.incomingAuth.oidcConfigRef is required when type is oidc",
        ),
        AUTHZ_EXCLUSIVE,
    )

    type: IncomingAuthType = Field(description="anonymous = anyone who reaches it; oidc = callers with a valid token.")
    oidc_config_ref: OIDCConfigRef | None = Field(None, description="How tokens are checked; with type oidc.")
    authz_config: AuthzConfig | None = Field(None, description="What a caller may do.")
    authz_config_ref: NonEmptyNameRef | None = Field(None, description="A shared MCPAuthzConfig.")


class BackendAuth(ApiModel):
    """How the gateway identifies itself to one backend."""

    type: BackendAuthType = Field(
        description="discovered = as the backend's own object says; externalAuthConfigRef = as the reference says."
    )
    external_auth_config_ref: NameRef | None = Field(None, description="An MCPExternalAuthConfig.")


class OutgoingAuth(ApiModel):
    """How the gateway identifies itself to backends."""

    source: OutgoingSource = Field(
        OutgoingSource.DISCOVERED,
        description="discovered (the default) = from the backends' own objects, inline = only from here.",
    )
    default: BackendAuth | None = Field(None, description="For backends without an entry in `backends`.")
    backends: dict[str, BackendAuth] | None = Field(None, description="By backend name.")


class ConfigOidc(ApiModel):
    """How the gateway checks tokens (resolved form)."""

    issuer: str = Field(pattern=r"^https?://", description="Issuer URL.")
    client_id: str = Field(description="Client id.")
    audience: str = Field(description="Audience that a token must carry.")
    client_secret_env: str | None = Field(None, description="Environment variable that holds the client secret.")
    resource: str | None = Field(None, description="URL of the protected resource.")
    jwks_url: str | None = Field(None, description="URL of the signing keys.")
    introspection_url: str | None = Field(None, description="URL of token introspection.")
    scopes: list[str] | None = Field(None, description="Scopes announced to clients.")
    ca_bundle_path: str | None = Field(None, description="File with the certificates to trust.")
    insecure_allow_http: bool | None = Field(None, description="Whether an http issuer is allowed.")
    jwks_allow_private_ip: bool | None = Field(None, description="Whether keys may be on a private address.")
    protected_resource_allow_private_ip: bool | None = Field(
        None, description="Whether the protected resource may be on a private address."
    )


class ConfigAuthz(ApiModel):
    """What a caller may do (resolved form)."""

    type: str = Field(description="Kind of the policies: none or cedar.")
    policies: list[str] | None = Field(None, description="Cedar policies.")
    entities_json: str | None = Field(None, description="Cedar entities as JSON.")
    primary_upstream_provider: str | None = Field(None, description="Upstream provider whose token is seen.")
    group_claim_name: str | None = Field(None, description="Claim that holds the caller's groups.")
    group_entity_type: str | None = Field(None, description="Cedar entity type of a group.")
    role_claim_name: str | None = Field(None, description="Claim that holds the caller's roles.")


class ConfigIncomingAuth(ApiModel):
    """Who may call the gateway (resolved form)."""

    type: str = Field(description="anonymous, or how callers are authenticated.")
    oidc: ConfigOidc | None = Field(None, description="How tokens are checked.")
    authz: ConfigAuthz | None = Field(None, description="What a caller may do.")


class AuthStrategy(OpenModel):
    """How the gateway identifies itself to a backend: a type and its own fields."""

    type: str = Field(description="Name of the strategy, such as unauthenticated or headerInjection.")


class ConfigOutgoingAuth(ApiModel):
    """How the gateway identifies itself to backends (resolved form)."""

    source: str = Field(description="discovered or inline.")
    default: AuthStrategy | None = Field(None, description="For backends without an entry in `backends`.")
    backends: dict[str, AuthStrategy] | None = Field(None, description="By backend name.")
