"""The gateway's `config.yaml`: written by the operator into a ConfigMap, read by `vmcp serve --config`."""

from typing import Annotated, Any, Final

import yaml
from pydantic import Field, ValidationError

from vmcp.api.auth import ConfigIncomingAuth
from vmcp.api.problem import Problem, problems_of
from vmcp.api.validation import settings_problems
from vmcp.api.virtualmcpserver import Backend, GatewaySettings

SECRET_VARIABLE = r"^TOOLHIVE_SECRET_HEADER_FORWARD_[A-Z0-9_]+$"
"""Only variables made for headers: a configuration must not send the gateway's other secrets anywhere."""

_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""In C where libyaml is there: in Python it took a quarter of a reconcile."""


class ConfigError(ValueError):
    """A config.yaml that the gateway cannot work by.

    Attributes:
        path: the field, such as `backends[0].url`; empty when the text as a whole is at fault.
        message: what is wrong and what to write instead.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(str(Problem(path, message)))
        self.path = path
        self.message = message


class GatewayBackend(Backend):
    """A backend as the gateway calls it."""

    headers: dict[str, str] = Field(default_factory=dict, description="Plaintext headers sent with every request.")
    headers_from_env: dict[str, Annotated[str, Field(pattern=SECRET_VARIABLE)]] = Field(
        default_factory=dict, description="Environment variables that hold the values of further headers, by header."
    )
    auth_configured: bool = Field(False, description="Whether outgoing auth is configured: then a 401 means alive.")
    unavailable_reason: str = Field("", description="Why it may never be called; empty = it may.")
    allow_private: bool = Field(False, description="Whether the address guard lets private addresses pass.")
    fingerprint: str = Field("", description="Short hash of its target, matched with the one in the status.")


class GatewayConfig(GatewaySettings):
    """All that the gateway needs to know but who is healthy.

    Unknown fields are ignored: an older gateway reads what a newer operator writes.
    """

    name: str = Field("vmcp", description="Name of the gateway.")
    group_ref: str = Field("", description="Name of the MCPGroup.")
    # Required, so that a misspelt block is never taken for "anyone may call".
    incoming_auth: ConfigIncomingAuth = Field(description="Who may call the gateway.")
    backends: list[GatewayBackend] = Field(default_factory=list, description="The backends.")


def load_gateway_config(text: str) -> GatewayConfig:
    """The configuration in a text of YAML or JSON.

    Raises:
        ConfigError: it is no YAML, or a field is missing or wrong.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError("", f"the configuration is not valid YAML{where}") from error
    except (ValueError, RecursionError) as error:
        # A date that is none, or nesting without end.
        raise ConfigError("", "the configuration is not valid YAML") from error
    if not isinstance(content, dict):
        raise ConfigError("", "the configuration must be an object with incomingAuth and backends")
    try:
        config = GatewayConfig.model_validate(content)
    except ValidationError as error:
        first = problems_of(error)[0]
        raise ConfigError(first.path, first.message) from error
    for problem in settings_problems(config, config.backends):
        raise ConfigError(problem.path, problem.message)
    return config


def dump_gateway_config(config: GatewayConfig) -> str:
    """The configuration as YAML: the same text for equal configurations, and nothing that is unset."""
    content = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    content["backends"] = [
        backend.model_dump(mode="json", by_alias=True, exclude_defaults=True) for backend in config.backends
    ]
    return str(yaml.dump(content, Dumper=_DUMPER, sort_keys=True, allow_unicode=True, default_flow_style=False))
