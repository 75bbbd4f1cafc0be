"""Parts of `spec.config` that add something to the gateway."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from vmcp.api.model import DURATION_PATTERN, ApiModel, Int64, OpenModel, OpenObject, cel, rules

RATIO_PATTERN = r"^([0-9]*[.])?[0-9]+$"
# Bounds come with whoever builds the feature; a rule on the items of a list would cost too much.
Timeout = Annotated[str, Field(pattern=DURATION_PATTERN)]


class EmbeddingProvider(StrEnum):
    """Who computes embeddings."""

    TEI = "tei"
    OPENAI = "openai"


class CompositeTool(OpenModel):
    """A tool made of several calls."""

    name: str = Field(description="Name of the tool.")
    description: str | None = Field(None, description="What the tool does.")
    steps: list[OpenObject] = Field(description="The calls, in order of their dependencies.")
    timeout: Timeout | None = Field(None, description="Time allowed for the whole.")


class Optimizer(ApiModel):
    """Finds tools by meaning instead of listing them all."""

    model_config = rules(
        cel(
            "!has(self.embeddingHeaders) || (has(self.embeddingProvider) && self.embeddingProvider == 'openai')",
            "embeddingHeaders is only supported when embeddingProvider is 'openai'",
        ),
        cel(
            "!has(self.embeddingHeaders) || self.embeddingHeaders.all(name, "
            "name.matches('^[A-Za-z0-9!#$%&*+.^_|~-]+$') && "
            "!name.matches('^(?i)(authorization|content-type)$'))",
            "embeddingHeaders names must be valid HTTP header names and must not include Authorization or Content-Type",
        ),
    )

    embedding_provider: EmbeddingProvider = Field(
        EmbeddingProvider.TEI, description="Who computes embeddings. Default tei."
    )
    embedding_service: str | None = Field(None, description="URL of the embedding service.")
    embedding_service_timeout: Timeout = Field("30s", description="Time allowed for one embedding. Default 30s.")
    embedding_model: str | None = Field(None, description="Model that computes embeddings.")
    embedding_headers: dict[str, str] | None = Field(
        None,
        description="Headers sent to the embedding service; with embeddingProvider openai.",
        json_schema_extra={"maxProperties": 64},
    )
    max_tools_to_return: int | None = Field(None, ge=1, le=50, description="Most tools that one search returns.")
    hybrid_search_semantic_ratio: str | None = Field(
        None, pattern=RATIO_PATTERN, description="Weight of meaning against words, 0 to 1."
    )
    semantic_distance_threshold: str | None = Field(
        None, pattern=RATIO_PATTERN, description="Results farther away than this are left out."
    )


class CodeMode(ApiModel):
    """Lets a client run a small program over tools."""

    enabled: bool | None = Field(None, description="Whether it is on.")
    parallel_max_concurrency: int = Field(10, ge=1, description="Most calls at once. Default 10.")
    step_limit: Annotated[Int64, Field(ge=1)] = Field(100000, description="Most steps of one program. Default 100000.")
    tool_call_timeout: Timeout = Field("30s", description="Time allowed for one call. Default 30s.")


class Audit(ApiModel):
    """A record of who called what."""

    enabled: bool = Field(False, description="Whether records are written. Default false.")
    component: str | None = Field(None, description="Component named in the records.")
    event_types: list[str] | None = Field(None, description="Only these events.")
    exclude_event_types: list[str] | None = Field(None, description="Not these events.")
    include_request_data: bool = Field(False, description="Whether arguments are recorded. Default false.")
    include_response_data: bool = Field(False, description="Whether results are recorded. Default false.")
    detect_application_errors: bool = Field(True, description="Whether errors in results are marked. Default true.")
    max_data_size: int = Field(1024, description="Most bytes of data in one record. Default 1024.")
    max_delegation_depth: int = Field(10, ge=1, description="Longest chain of actors recorded. Default 10.")
    log_file: str | None = Field(None, description="File to write to; unset = standard output.")


class Telemetry(ApiModel):
    """Traces and metrics of the gateway."""

    endpoint: str | None = Field(None, description="OTLP endpoint.")
    insecure: bool = Field(False, description="Whether the endpoint is plain HTTP. Default false.")
    headers: dict[str, str] | None = Field(None, description="Headers sent to the endpoint.")
    service_name: str | None = Field(None, description="Service name.")
    service_version: str | None = Field(None, description="Service version.")
    tracing_enabled: bool = Field(False, description="Whether traces are sent. Default false.")
    sampling_rate: str = Field("0.05", description="Share of traces that are kept, 0 to 1. Default 0.05.")
    metrics_enabled: bool = Field(False, description="Whether metrics are sent. Default false.")
    enable_prometheus_metrics_path: bool = Field(False, description="Whether /metrics is served. Default false.")
    metrics_on_transport_port: bool | None = Field(None, description="Whether /metrics is on the gateway's port.")
    prometheus_port: int | None = Field(None, description="Port of /metrics where it is not the gateway's.")
    environment_variables: list[str] | None = Field(None, description="Environment variables added to spans.")
    custom_attributes: dict[str, str] | None = Field(None, description="Attributes added to everything sent.")
    ca_cert_path: str | None = Field(None, description="File with the certificates to trust.")
    use_legacy_attributes: bool = Field(True, description="Whether former attribute names are sent too. Default true.")
