"""What is wrong with a spec: all that the API server cannot check, and all that it checks again.

An object may be older than a rule, so nothing is taken for granted here. Each problem names the field and
the fix.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from pydantic import ValidationError

from vmcp.api.auth import AuthzConfig, AuthzType, IncomingAuthType
from vmcp.api.duration import parse_duration
from vmcp.api.edgerules import host_problems, passthrough_problems
from vmcp.api.features import EmbeddingProvider
from vmcp.api.operational import FailureHandling
from vmcp.api.problem import Problem, field_path, problems_of
from vmcp.api.ratelimit import RateLimiting
from vmcp.api.session import SessionProvider, SessionStorage, host_and_port
from vmcp.api.toolrules import aggregation_problems
from vmcp.api.virtualmcpserver import Backend, GatewaySettings, VirtualMCPServerSpec

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&*+.^_|~-]+")


def validate(spec: object) -> list[Problem]:
    """Everything that is wrong with the spec of a VirtualMCPServer. Never raises, whatever it is given."""
    if not isinstance(spec, dict):
        return [Problem("spec", "is required and must be an object with groupRef and incomingAuth")]
    try:
        model = VirtualMCPServerSpec.model_validate(spec)
    except ValidationError as error:
        return problems_of(error, "spec")
    return list(_spec_problems(model))


def settings_problems(settings: GatewaySettings, backends: Sequence[Backend], *path: str) -> Iterator[Problem]:
    """What is wrong with the settings and backends of one gateway, found below `path`."""
    yield from _backend_problems(backends, *path, "backends")
    if settings.aggregation is not None:
        yield from aggregation_problems(settings.aggregation, *path, "aggregation")
    yield from passthrough_problems(settings.passthrough_headers or (), *path, "passthroughHeaders")
    yield from host_problems(settings.allowed_hosts or (), *path, "allowedHosts")
    if settings.operational is not None and settings.operational.failure_handling is not None:
        handling, place = settings.operational.failure_handling, (*path, "operational", "failureHandling")
        yield from _failure_handling_problems(handling, *place)
        for name in sorted(handling.per_backend or {}):
            yield from _per_backend_problems(handling, name, *place, "perBackend", name)
    if settings.rate_limiting is not None:
        yield from _rate_limit_problems(settings.rate_limiting, *path, "rateLimiting")


def url_problem(url: str) -> str | None:
    """Why a backend cannot be at this URL; None when it can."""
    shape = "write it like http://host:8080/mcp"
    if any(not "!" <= character <= "~" for character in url):
        return f"is not a URL: it contains a space, a control character or a letter that is not ASCII; {shape}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return f"is not a URL: its host or port is malformed; {shape}"
    if parts.scheme not in ("http", "https"):
        return f"must start with http:// or https://; {shape}"
    if not host or port == 0:
        return f"is not a URL: it has no host or its port is 0; {shape}"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user or a password; everyone who reads the object would see them"
    if parts.fragment:
        return "must not contain a fragment (#...)"
    return None


def _spec_problems(spec: VirtualMCPServerSpec) -> Iterator[Problem]:
    yield from _incoming_auth_problems(spec)
    if spec.session_storage is not None:
        yield from _session_problems(spec.session_storage)
    yield from passthrough_problems(spec.passthrough_headers or (), "spec", "passthroughHeaders")
    if spec.config is None:
        return
    yield from settings_problems(spec.config, spec.config.backends or [], "spec", "config")
    yield from _combination_problems(spec)


def _incoming_auth_problems(spec: VirtualMCPServerSpec) -> Iterator[Problem]:
    auth = spec.incoming_auth
    if auth.type is IncomingAuthType.OIDC and auth.oidc_config_ref is None:
        yield Problem("spec.incomingAuth.oidcConfigRef", "is required when type is oidc; name an MCPOIDCConfig")
    if auth.authz_config is None:
        return
    if auth.authz_config_ref is not None:
        yield Problem("spec.incomingAuth.authzConfigRef", "cannot be combined with authzConfig; remove one of the two")
    yield from _authz_problems(auth.authz_config)


def _authz_problems(authz: AuthzConfig) -> Iterator[Problem]:
    for kind, given in ((AuthzType.CONFIG_MAP, authz.config_map), (AuthzType.INLINE, authz.inline)):
        path = f"spec.incomingAuth.authzConfig.{kind}"
        if authz.type is kind and given is None:
            yield Problem(path, f"is required when type is {kind}; set it")
        if authz.type is not kind and given is not None:
            yield Problem(path, f"must not be set when type is {authz.type}; remove it or change type")


def _session_problems(storage: SessionStorage) -> Iterator[Problem]:
    if storage.provider is not SessionProvider.REDIS:
        return
    if storage.address is None:
        yield Problem("spec.sessionStorage.address", "is required when provider is redis; set it to host:port")
    elif host_and_port(storage.address) is None:
        yield Problem("spec.sessionStorage.address", "is no host:port; write it as in redis:6379")


def _combination_problems(spec: VirtualMCPServerSpec) -> Iterator[Problem]:
    assert spec.config is not None
    limits, optimizer = spec.config.rate_limiting, spec.config.optimizer
    if limits is not None:
        path = "spec.config.rateLimiting"
        if spec.session_storage is None or spec.session_storage.provider is not SessionProvider.REDIS:
            yield Problem(path, "requires spec.sessionStorage with provider redis; set it or remove the limits")
        per_user = [limits.per_user, *(tool.per_user for tool in limits.tools or ())]
        if any(per_user) and spec.incoming_auth.type is not IncomingAuthType.OIDC:
            yield Problem(path, "limits per user require spec.incomingAuth.type oidc; use shared limits instead")
    if optimizer is not None:
        openai = optimizer.embedding_provider is EmbeddingProvider.OPENAI
        if openai and spec.embedding_server_ref is not None:
            yield Problem(
                "spec.embeddingServerRef",
                "cannot be combined with optimizer.embeddingProvider openai; remove it and set embeddingService",
            )
        yield from _embedding_header_problems(optimizer.embedding_headers or {}, openai)


def _embedding_header_problems(headers: Mapping[str, str], openai: bool) -> Iterator[Problem]:
    path = "spec.config.optimizer.embeddingHeaders"
    if headers and not openai:
        yield Problem(path, "requires embeddingProvider openai; set it or remove them")
    for name in headers:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in ("authorization", "content-type"):
            yield Problem(path, f"{name!r} is not a header name that may be set here; rename or remove it")


def _backend_problems(backends: Sequence[Backend], *path: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, backend in enumerate(backends):
        if not backend.name.strip():
            yield Problem(field_path(*path, index, "name"), "must not be empty; give every backend a name")
        elif backend.name in first:
            yield Problem(
                field_path(*path, index, "name"),
                f"{backend.name!r} is already the name of {field_path(*path, first[backend.name])}; rename one of them",
            )
        first.setdefault(backend.name, index)
        problem = url_problem(backend.url)
        if problem is not None:
            yield Problem(field_path(*path, index, "url"), problem)


def _failure_handling_problems(handling: FailureHandling, *path: str) -> Iterator[Problem]:
    timeout, interval = handling.health_check_timeout, handling.health_check_interval
    if timeout is not None and parse_duration(timeout) >= parse_duration(interval):
        yield Problem(
            field_path(*path, "healthCheckTimeout"),
            f"{timeout} must be shorter than healthCheckInterval, which is {interval}; "
            "lower the timeout or raise the interval",
        )
    breaker = handling.circuit_breaker
    if breaker is None or breaker.max_timeout is None:
        return
    if parse_duration(breaker.max_timeout) < parse_duration(breaker.timeout):
        yield Problem(
            field_path(*path, "circuitBreaker", "maxTimeout"),
            f"{breaker.max_timeout} must not be shorter than timeout, which is {breaker.timeout}; "
            "raise maxTimeout or lower timeout",
        )


def _per_backend_problems(handling: FailureHandling, name: str, *path: str) -> Iterator[Problem]:
    """What is wrong with the whole of one backend's own fields and those of all, where its own are part of it."""
    everybodys = {problem.message for problem in _failure_handling_problems(handling)}
    for problem in _failure_handling_problems(handling.of_backend(name), *path):
        if problem.message not in everybodys:
            yield problem


def _rate_limit_problems(limits: RateLimiting, *path: str) -> Iterator[Problem]:
    if limits.shared is None and limits.per_user is None and not limits.tools:
        yield Problem(field_path(*path), "at least one of shared, perUser or tools must be set")
    for index, tool in enumerate(limits.tools or ()):
        if tool.shared is None and tool.per_user is None:
            yield Problem(field_path(*path, "tools", index), "at least one of shared or perUser must be set")
