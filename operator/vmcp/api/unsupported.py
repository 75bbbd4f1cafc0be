"""What a spec may ask for and nothing here does yet: it is never silently ignored.

What protects something fails closed: no gateway is served. What merely adds something is left out and named.
A backend whose outgoing auth we cannot do is never called. Everything here reads plain values, so that a spec
that is also invalid elsewhere still fails closed.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.api.problem import Problem, field_path
from vmcp.api.virtualmcpserver import VirtualMCPServerSpec

Subject = Mapping[str, Any] | VirtualMCPServerSpec | GatewayConfig
"""A spec, as a model or as stored, or the gateway's configuration."""

_PERMIT_ALL = "permit(principal,action,resource);"
_ANONYMOUS_ONLY = "is not supported yet; only anonymous is, and no gateway is served without what protects it"


def fail_closed(subject: Subject) -> list[Problem]:
    """What protects something and is not built: with any of it, no gateway may be served."""
    return list(_fail_closed(subject))


def left_out(subject: Subject) -> list[str]:
    """Paths of what merely adds something and is not built: the gateway is served without it."""
    spec, settings, prefix = _read(subject)
    found = []
    if spec is not None:
        for name in ("embeddingServerRef", "telemetryConfigRef"):
            if spec.get(name):
                found.append(f"spec.{name}")
    for name in ("compositeTools", "compositeToolRefs"):
        if settings.get(name):
            found.append(field_path(*prefix, name))
    for name in ("optimizer", "telemetry"):
        if settings.get(name) is not None:
            found.append(field_path(*prefix, name))
    for name in ("audit", "codeMode"):
        if _at(settings, name, "enabled"):
            found.append(field_path(*prefix, name))
    return found


def outgoing_auth_problem(subject: Subject, backend: str, discovered: str | None = None) -> str | None:
    """Why the backend may never be called: outgoing auth that we cannot do. None = it may be called.

    Args:
        discovered: name of the MCPExternalAuthConfig that the backend's own object refers to, if it does.
    """
    spec, settings, prefix = _read(subject)
    resolved, written = settings.get("outgoingAuth"), _at(spec, "outgoingAuth")
    strategy, path = _choose(resolved, backend, (*prefix, "outgoingAuth"))
    if strategy is not None and _at(strategy, "type") != "unauthenticated":
        return f"outgoing auth of type {_at(strategy, 'type')!r} ({path}) is not supported yet"
    chosen, path = _choose(written, backend, ("spec", "outgoingAuth"))
    if chosen is not None and _at(chosen, "type") != "discovered":
        reference = _at(chosen, "externalAuthConfigRef", "name")
        return f"outgoing auth by MCPExternalAuthConfig {reference!r} ({path}) is not supported yet"
    only_inline = chosen is None and "inline" in (_at(written, "source"), _at(resolved, "source"))
    if discovered and not only_inline:
        return f"outgoing auth by MCPExternalAuthConfig {discovered!r} is not supported yet"
    return None


def proxy_fails_closed(spec: Mapping[str, Any]) -> list[Problem]:
    """What an MCPRemoteProxy protects by and nothing here does: with any of it, it is nobody's backend."""
    protecting = ("oidcConfigRef", "authzConfig", "authzConfigRef", "authServerRef", "toolConfigRef")
    message = "is not supported; remove it: what protects callers is set on the VirtualMCPServer"
    return [Problem(f"spec.{name}", message) for name in protecting if spec.get(name) is not None]


def proxy_left_out(spec: Mapping[str, Any]) -> list[str]:
    """Paths of what an MCPRemoteProxy says and nothing here does, since no proxy runs for it."""
    names = (
        "endpointPrefix", "podTemplateSpec", "replicas", "resourceOverrides", "resources", "serviceAccount",
        "sessionStorage", "telemetryConfigRef", "trustProxyHeaders",
    )  # fmt: skip
    found = [f"spec.{name}" for name in names if spec.get(name)]
    return found + (["spec.audit"] if _at(spec, "audit", "enabled") else [])


def _fail_closed(subject: Subject) -> Iterator[Problem]:
    spec, settings, prefix = _read(subject)
    if spec is not None:
        yield from _incoming(spec.get("incomingAuth"), ("spec", "incomingAuth"))
        if spec.get("authServerConfig") is not None:
            yield Problem("spec.authServerConfig", "an authorization server is not supported yet; remove it")
    if spec is None or settings.get("incomingAuth") is not None:
        yield from _resolved_incoming(settings.get("incomingAuth"), (*prefix, "incomingAuth"))
    if settings.get("rateLimiting") is not None:
        yield Problem(field_path(*prefix, "rateLimiting"), "rate limits are not supported yet; remove them")
    yield from _shared_tool_rules(settings.get("aggregation"), (*prefix, "aggregation"))


def _incoming(auth: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    if _at(auth, "type") != "anonymous":
        yield Problem(field_path(*path, "type"), f"{_at(auth, 'type')!r} {_ANONYMOUS_ONLY}")
    if _at(auth, "authzConfigRef") is not None:
        yield Problem(field_path(*path, "authzConfigRef"), "authorization is not supported yet; remove it")
    authz = _at(auth, "authzConfig")
    inline = _at(authz, "inline")
    trivial = _at(authz, "type") == "inline" and _permits_all(inline) and _at(authz, "configMap") is None
    if authz is not None and not trivial:
        yield Problem(field_path(*path, "authzConfig"), "authorization is not supported yet; remove it")


def _resolved_incoming(auth: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    if _at(auth, "type") != "anonymous":
        yield Problem(field_path(*path, "type"), f"{_at(auth, 'type')!r} {_ANONYMOUS_ONLY}")
    authz = _at(auth, "authz")
    without = _at(authz, "type") in ("none", "") and not _at(authz, "policies")
    if authz is not None and not without and not _permits_all(authz):
        yield Problem(field_path(*path, "authz"), "authorization is not supported yet; remove it")


def _shared_tool_rules(aggregation: Any, path: tuple[str, ...]) -> Iterator[Problem]:
    """What a MCPToolConfig hides must not be seen, and nothing reads one yet."""
    message = "MCPToolConfig is not supported yet; write its filter and overrides here and remove the reference"
    for index, tools in enumerate(_list(_at(aggregation, "tools"))):
        if _at(tools, "toolConfigRef"):
            yield Problem(field_path(*path, "tools", index, "toolConfigRef"), message)


def _permits_all(authz: Any) -> bool:
    policies = _list(_at(authz, "policies"))
    if len(policies) != 1 or not isinstance(policies[0], str) or "".join(policies[0].split()) != _PERMIT_ALL:
        return False
    entities = _at(authz, "entitiesJson")
    if entities in (None, ""):
        return True
    try:
        return bool(json.loads(entities) == [])
    except (TypeError, ValueError, RecursionError):
        return False


def _choose(auth: Any, backend: str, path: tuple[str, ...]) -> tuple[Any, str]:
    """What an outgoing auth block says of a backend, and where."""
    own = _at(auth, "backends", backend)
    if own is not None:
        return own, field_path(*path, "backends", backend)
    return _at(auth, "default"), field_path(*path, "default")


def _read(subject: Subject) -> tuple[Mapping[str, Any] | None, Mapping[str, Any], tuple[str, ...]]:
    """The spec (None for a gateway's configuration), its settings, and the path of the settings."""
    if isinstance(subject, GatewayConfig):
        return None, subject.model_dump(mode="json", by_alias=True, exclude_none=True), ()
    if isinstance(subject, VirtualMCPServerSpec):
        subject = subject.model_dump(mode="json", by_alias=True, exclude_none=True)
    config = subject.get("config")
    return subject, config if isinstance(config, Mapping) else {}, ("spec", "config")


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
