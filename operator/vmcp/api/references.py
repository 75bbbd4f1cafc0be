"""References from a spec to other objects of its namespace."""

from typing import Annotated

from pydantic import Field

from vmcp.api.model import ApiModel


class NameRef(ApiModel):
    """A reference to an object of the same namespace."""

    name: str = Field(description="Name of the object.")


class NonEmptyNameRef(ApiModel):
    """A reference to an object of the same namespace."""

    name: str = Field(min_length=1, description="Name of the object.")


class GroupRef(NonEmptyNameRef):
    """The MCPGroup, in the same namespace."""

    name: str = Field(min_length=1, description="Name of the MCPGroup.")


class SecretKeyRef(ApiModel):
    """One key of a Secret of the same namespace."""

    name: str = Field(description="Name of the Secret.")
    key: str = Field(description="Key within the Secret.")


class ImagePullSecret(ApiModel):
    """A Secret with credentials for an image registry."""

    name: str = Field("", description="Name of the Secret.")


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap of the same namespace."""

    name: str = Field("", description="Name of the ConfigMap.")
    key: str = Field(description="Key within the ConfigMap.")
    optional: bool | None = Field(None, description="Whether the ConfigMap or its key may be missing.")


class CABundleRef(ApiModel):
    """Where the certificates of the authorities to trust are found."""

    config_map_ref: ConfigMapKeyRef | None = Field(None, description="Key of a ConfigMap that holds them as PEM.")


class TelemetryConfigRef(ApiModel):
    """A shared MCPTelemetryConfig."""

    name: str = Field(min_length=1, description="Name of the MCPTelemetryConfig.")
    service_name: str | None = Field(None, description="Service name in traces and metrics; unset = the object's name.")


class OIDCConfigRef(ApiModel):
    """A shared MCPOIDCConfig, and what is particular to this server."""

    name: str = Field(min_length=1, description="Name of the MCPOIDCConfig.")
    audience: str = Field(min_length=1, description="Audience that a token must carry.")
    resource_url: str | None = Field(None, description="URL of the protected resource, as announced to clients.")
    scopes: list[str] | None = Field(None, description="Scopes announced to clients.")


ProviderName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
