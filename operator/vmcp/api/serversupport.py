"""What an MCPServer may ask for and nothing here does yet: it is never silently ignored.

What protects the server fails closed: nothing runs. What merely adds something is left out and named. What protects is
read from plain values, so that a spec that is also invalid elsewhere still fails closed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vmcp.api.mcpserver import MCPServerSpec, ProxyMode, ServerTransport
from vmcp.api.problem import Problem

_PROTECTS = {
    "authServerRef": "an authorization server",
    "authzConfig": "authorization",
    "authzConfigRef": "authorization",
    "externalAuthConfigRef": "an MCPExternalAuthConfig, which may be what callers are checked by,",
    "oidcConfigRef": "a check of callers' tokens",
    "rateLimiting": "a limit on calls",
    "toolConfigRef": "an MCPToolConfig, which may hide tools,",
    "webhookConfigRef": "a webhook that judges calls",
}


def fail_closed(spec: Mapping[str, Any]) -> list[Problem]:
    """What protects something and is not built: with any of it, the server does not run."""
    return list(_fail_closed(spec))


def left_out(spec: MCPServerSpec) -> list[str]:
    """Paths of what merely adds something and is not built, with what is done instead where that is not obvious."""
    return list(_left_out(spec))


def _fail_closed(spec: Mapping[str, Any]) -> Iterator[Problem]:
    for name, what in _PROTECTS.items():
        if spec.get(name) is not None:
            yield Problem(f"spec.{name}", f"{what} is not supported yet; remove it, or nothing is served")
    profile = spec.get("permissionProfile")
    if profile is not None and not _restricts_nothing(profile):
        message = "only the builtin profile network is supported yet; remove it and use a NetworkPolicy"
        yield Problem("spec.permissionProfile", message)


def _restricts_nothing(profile: object) -> bool:
    return (
        isinstance(profile, Mapping)
        and profile.get("type", "builtin") == "builtin"
        and profile.get("name") == "network"
    )


def _left_out(spec: MCPServerSpec) -> Iterator[str]:
    if spec.audit and spec.audit.enabled:
        yield "spec.audit"
    if spec.endpoint_prefix:
        yield "spec.endpointPrefix"
    if spec.session_storage and spec.session_storage.provider == "redis":
        yield "spec.sessionStorage"
    if spec.telemetry_config_ref:
        yield "spec.telemetryConfigRef"
    if spec.trust_proxy_headers:
        yield "spec.trustProxyHeaders"
    if spec.transport is ServerTransport.STDIO:
        if spec.proxy_mode is ProxyMode.SSE:
            yield "spec.proxyMode (it is offered as streamable-http)"
        if (spec.replicas or 0) > 1:
            yield "spec.replicas (a stdio server has one proxy)"
        if (spec.backend_replicas or 0) > 1:
            yield "spec.backendReplicas (a stdio server is one pod)"
        return
    overrides = spec.resource_overrides.proxy_deployment if spec.resource_overrides else None
    if overrides and overrides.model_dump(exclude={"image_pull_secrets"}, exclude_none=True):
        yield "spec.resourceOverrides.proxyDeployment (clients reach the server's own pods, there is no proxy)"
