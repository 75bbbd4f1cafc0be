"""Manifests that the API server must take, and such that it must refuse with a message that helps.

Data only: `test_admission.py` sends every row to a real API server.
"""

from dataclasses import dataclass
from typing import Any

from tests.api.samples import (
    BACKEND,
    BUCKET,
    EVERY_ENTRY_FIELD,
    EVERY_PROXY_FIELD,
    EVERY_SERVER_FIELD,
    EVERY_VMCP_FIELD,
    GROUP,
    INLINE_AUTHZ,
    OIDC,
    REDIS,
    SECRET,
    Manifest,
    breaker,
    config,
    entry,
    handling,
    limits,
    manifest,
    proxy,
    server,
    vmcp,
)


@dataclass(frozen=True)
class Row:
    """A manifest and, when it must be refused, a part of the message."""

    name: str
    manifest: Manifest
    error: str | None = None


EVERY_OVERRIDE_FIELD: Manifest = {
    "healthCheckInterval": "20s",
    "healthCheckTimeout": "4s",
    "unhealthyThreshold": 2,
    "fastInterval": "1s",
    "degradedLatency": "2s",
    "circuitBreaker": {
        "enabled": True,
        "failureThreshold": 4,
        "timeout": "30s",
        "backoffMultiplier": 1.5,
        "maxTimeout": "10m",
        "successThreshold": 2,
    },
    "override": {"mode": "forcedOpen", "until": "2027-01-31T04:00:00Z", "reason": "moving to another node"},
}

GOOD = (
    Row("the least of a VirtualMCPServer", vmcp()),
    Row("every field of a VirtualMCPServer", EVERY_VMCP_FIELD),
    Row("the older version", vmcp(version="v1alpha1")),
    Row("NodePort", vmcp(serviceType="NodePort")),
    Row("empty config", config()),
    Row("empty failureHandling", handling()),
    Row("the former defaults written out", handling(healthCheckTimeout="10s", statusReportingInterval="30s")),
    Row("breaker with all defaults", breaker()),
    Row("intervals in any notation", handling(healthCheckInterval="1m30s", healthCheckTimeout="1500ms")),
    Row("milliseconds of six digits", handling(healthCheckInterval="120000ms")),
    Row("the longest interval", handling(healthCheckInterval="24h")),
    Row("fast interval switched off", handling(fastInterval="0s")),
    Row("a backend of its own", handling(perBackend={"search": EVERY_OVERRIDE_FIELD})),
    Row("a backend that nothing differs for", handling(perBackend={"search": {}})),
    Row("the most backends of their own", handling(
        perBackend={f"backend-{number}": EVERY_OVERRIDE_FIELD for number in range(100)}
    )),
    Row("the same open time always", breaker(backoffMultiplier=1, maxTimeout="60s")),
    Row("two backends", config(backends=[BACKEND, {**BACKEND, "name": "b"}])),
    Row("authz from a ConfigMap by default",
        vmcp(incomingAuth={**OIDC, "authzConfig": {"configMap": {"name": "p"}}})),
    Row("limits shared by all", limits({"shared": BUCKET}, sessionStorage=REDIS)),
    Row("limits per user", limits({"perUser": BUCKET}, sessionStorage=REDIS, incomingAuth=OIDC)),
    Row("a hundred tools limited", limits(
        {"tools": [{"name": f"t{n}", "shared": BUCKET} for n in range(100)]}, sessionStorage=REDIS
    )),
    Row("optimizer with openai headers", config(
        optimizer={"embeddingProvider": "openai", "embeddingHeaders": {"X-Key": "v"}}
    )),
    Row("the least of a group", manifest("MCPGroup", {})),
    Row("a described group", manifest("MCPGroup", {"description": "tools of the team"}, version="v1alpha1")),
    Row("the least of an entry", entry()),
    Row("every field of an entry", EVERY_ENTRY_FIELD),
    Row("the least of a remote proxy", proxy()),
    Row("every field of a remote proxy", EVERY_PROXY_FIELD),
    Row("the least of a server", server()),
    Row("every field of a server", EVERY_SERVER_FIELD),
)  # fmt: skip

_INTERVAL = "must be a duration from 1s to 24h, such as 30s or 1m30s"
_TIMEOUT = "must be a duration from 1ms to 24h, such as 30s or 1m30s"

BAD = (
    Row("no group", vmcp(groupRef=None), "spec.groupRef: Required value"),
    Row("empty group name", vmcp(groupRef={"name": ""}), "spec.groupRef.name"),
    Row("no incomingAuth", vmcp(incomingAuth=None), "spec.incomingAuth: Required value"),
    Row("unknown incomingAuth",
        vmcp(incomingAuth={"type": "basic"}), 'supported values: "anonymous", "oidc"'),
    Row("interval 0s", handling(healthCheckInterval="0s"), _INTERVAL),
    Row("override without a mode", handling(perBackend={"a": {"override": {}}}), "Required value"),
    Row("override with an unknown mode", handling(perBackend={"a": {"override": {"mode": "off"}}}), "supported values"),
    Row("override until no time", handling(
        perBackend={"a": {"override": {"mode": "disabled", "until": "tomorrow"}}}
    ), "date-time"),
    Row("interval 0s of one backend", handling(perBackend={"a": {"healthCheckInterval": "0s"}}), _INTERVAL),
    Row("timeout of one backend above its interval", handling(
        perBackend={"a": {"healthCheckInterval": "5s", "healthCheckTimeout": "5s"}}
    ), "healthCheckTimeout must be shorter than healthCheckInterval"),
    Row("maxTimeout of one backend below its timeout", handling(
        perBackend={"a": {"circuitBreaker": {"timeout": "2m", "maxTimeout": "1m"}}}
    ), "maxTimeout must not be shorter than timeout"),
    Row("too many backends of their own", handling(
        perBackend={f"backend-{number}": {} for number in range(101)}
    ), "Too many"),
    Row("interval -5s", handling(healthCheckInterval="-5s"), _INTERVAL),
    Row("interval without a unit", handling(healthCheckInterval="5"), _INTERVAL),
    Row("interval 1e9h", handling(healthCheckInterval="1e9h"), _INTERVAL),
    Row("interval as a number", handling(healthCheckInterval=5), "must be of type string"),
    Row("empty interval", handling(healthCheckInterval=""), _INTERVAL),
    Row("interval of 300 years", handling(healthCheckInterval="2628000h"), _INTERVAL),
    Row("interval beyond 292 years in parts",
        handling(healthCheckInterval="999999h999999h99999h"), _INTERVAL),
    Row("interval that is long to read", handling(healthCheckInterval="1s" * 11), "may not be more than 20"),
    Row("interval of half a second", handling(healthCheckInterval="500ms"), _INTERVAL),
    Row("interval of two days", handling(healthCheckInterval="48h"), _INTERVAL),
    Row("check timeout 0s", handling(healthCheckTimeout="0s"), _TIMEOUT),
    Row("check timeout 1e9h", handling(healthCheckTimeout="1e9h"), _TIMEOUT),
    Row("check timeout as long as the interval",
        handling(healthCheckInterval="10s", healthCheckTimeout="10s"),
        "healthCheckTimeout must be shorter than healthCheckInterval"),
    Row("check timeout longer than the default interval",
        handling(healthCheckTimeout="40s"),
        "healthCheckTimeout must be shorter than healthCheckInterval (default 30s); lower the timeout"),
    Row("unhealthy threshold 0", handling(unhealthyThreshold=0), "greater than or equal to 1"),
    Row("unhealthy threshold too high", handling(unhealthyThreshold=1001), "less than or equal to 1000"),
    Row("unhealthy threshold as a word", handling(unhealthyThreshold="many"), "must be of type integer"),
    Row("unknown partial failure mode", handling(partialFailureMode="ignore"), '"fail", "best_effort"'),
    Row("fast interval -1s", handling(fastInterval="-1s"), "must be a duration from 0s to 24h"),
    Row("degraded latency 0s", handling(degradedLatency="0s"), _TIMEOUT),
    Row("status interval 0s", handling(statusReportingInterval="0s"), _INTERVAL),
    Row("failure threshold 0", breaker(failureThreshold=0), "greater than or equal to 1"),
    Row("failure threshold too high", breaker(failureThreshold=1001), "less than or equal to 1000"),
    Row("open time below a second", breaker(timeout="500ms"), "timeout must be >= 1s"),
    Row("open time -5s", breaker(timeout="-5s"), "must be a duration from 1s to 24h"),
    Row("open time of 300 years", breaker(timeout="2628000h"), "must be a duration from 1s to 24h"),
    Row("longest open time below the first",
        breaker(timeout="2m", maxTimeout="1m"),
        "maxTimeout must not be shorter than timeout; raise maxTimeout or lower timeout"),
    Row("longest open time below the default",
        breaker(maxTimeout="30s"), "maxTimeout must not be shorter than timeout"),
    Row("backoff below 1", breaker(backoffMultiplier=0.5), "greater than or equal to 1"),
    Row("backoff above 10", breaker(backoffMultiplier=11), "less than or equal to 10"),
    Row("success threshold 0", breaker(successThreshold=0), "greater than or equal to 1"),
    Row("call timeout 0s", config(operational={"timeouts": {"default": "0s"}}), _TIMEOUT),
    Row("call timeout of a backend -1s",
        config(operational={"timeouts": {"perWorkload": {"a": "-1s"}}}), _TIMEOUT),
    Row("unknown log level", config(operational={"logLevel": "trace"}), 'supported values: "debug"'),
    Row("duplicate backend names",
        config(backends=[BACKEND, {**BACKEND, "url": "http://b:80"}]), "Duplicate value"),
    Row("backend URL without a scheme", config(backends=[{**BACKEND, "url": "a:8080"}]), "^https?://"),
    Row("backend without a URL",
        config(backends=[{"name": "a", "transport": "sse"}]), "backends[0].url: Required"),
    Row("unknown backend transport",
        config(backends=[{**BACKEND, "transport": "stdio"}]), '"streamable-http", "sse"'),
    Row("unknown backend type",
        config(backends=[{**BACKEND, "type": "pod"}]), "spec.config.backends[0].type"),
    Row("unknown conflict resolution",
        config(aggregation={"conflictResolution": "first"}), '"prefix", "priority"'),
    Row("oidc without a reference",
        vmcp(incomingAuth={"type": "oidc"}), "spec.incomingAuth.oidcConfigRef is required when type is oidc"),
    Row("two authorizations",
        vmcp(incomingAuth={**OIDC, "authzConfig": INLINE_AUTHZ, "authzConfigRef": {"name": "z"}}),
        "authzConfig and authzConfigRef are mutually exclusive"),
    Row("inline authz without inline",
        vmcp(incomingAuth={"type": "anonymous", "authzConfig": {"type": "inline"}}),
        "inline must be set when type is 'inline', and must not be set otherwise"),
    Row("configMap authz without configMap",
        vmcp(incomingAuth={"type": "anonymous", "authzConfig": {}}),
        "configMap must be set when type is 'configMap', and must not be set otherwise"),
    Row("redis without an address", vmcp(sessionStorage={"provider": "redis"}), "address is required"),
    Row("limits without redis",
        limits({"shared": BUCKET}), "config.rateLimiting requires sessionStorage with provider 'redis'"),
    Row("limits per user for anyone",
        limits({"perUser": BUCKET}, sessionStorage=REDIS),
        "config.rateLimiting.perUser requires incomingAuth.type oidc"),
    Row("limits of a tool per user for anyone",
        limits({"tools": [{"name": "t", "perUser": BUCKET}]}, sessionStorage=REDIS),
        "per-tool perUser rate limiting requires incomingAuth.type oidc"),
    Row("limits of nothing",
        limits({}, sessionStorage=REDIS), "at least one of shared, perUser, or tools must be configured"),
    Row("limits of a tool without any",
        limits({"tools": [{"name": "t"}]}, sessionStorage=REDIS),
        "at least one of shared or perUser must be configured"),
    Row("embedding server and openai",
        vmcp(embeddingServerRef={"name": "e"}, config={"optimizer": {"embeddingProvider": "openai"}}),
        "embeddingServerRef provisions a managed TEI server and cannot be combined"),
    Row("embedding headers without openai",
        config(optimizer={"embeddingHeaders": {"X-Key": "v"}}),
        "embeddingHeaders is only supported when embeddingProvider is 'openai'"),
    Row("embedding header that is reserved",
        config(optimizer={"embeddingProvider": "openai", "embeddingHeaders": {"Authorization": "v"}}),
        "must not include Authorization or Content-Type"),
    Row("replicas -1", vmcp(replicas=-1), "greater than or equal to 0"),
    Row("unknown service type", vmcp(serviceType="ExternalName"), '"ClusterIP", "NodePort", "LoadBalancer"'),
    Row("no spec",
        {"apiVersion": f"{GROUP}/v1beta1", "kind": "VirtualMCPServer", "metadata": {"name": "sample"}},
        "spec: Required value"),
    Row("older version, same rules",
        vmcp(version="v1alpha1", config={"operational": {"failureHandling": {"healthCheckInterval": "0s"}}}),
        _INTERVAL),
    Row("entry without a group", entry(groupRef=None), "spec.groupRef: Required value"),
    Row("entry without a URL", entry(remoteUrl=None), "spec.remoteUrl: Required value"),
    Row("entry with another scheme", entry(remoteUrl="ftp://mcp.example.com"), "spec.remoteUrl"),
    Row("entry with an unknown transport", entry(transport="stdio"), '"streamable-http", "sse"'),
    Row("entry with a header twice",
        entry(headerForward={"addHeadersFromSecret": [{"headerName": "X", "valueSecretRef": SECRET}] * 2}),
        "Duplicate value"),
    Row("server without an image", manifest("MCPServer", {}), "spec.image: Required value"),
    Row("remote proxy without a URL", proxy(remoteUrl=None), "spec.remoteUrl: Required value"),
    Row("remote proxy with an unknown transport", proxy(transport="stdio"), '"streamable-http", "sse"'),
    Row("remote proxy with two authorizations",
        proxy(authzConfig=INLINE_AUTHZ, authzConfigRef={"name": "p"}), "are mutually exclusive"),
    Row("remote proxy with fewer than no replicas", proxy(replicas=-1), "greater than or equal to 0"),
    Row("server with port 0", server(proxyPort=0), "greater than or equal to 1"),
    Row("server with limits without redis",
        server(rateLimiting={"shared": BUCKET}), "rateLimiting requires"),
    Row("server with limits per user for anyone",
        server(rateLimiting={"perUser": BUCKET}, sessionStorage=REDIS),
        "rateLimiting.perUser requires authentication"),
)  # fmt: skip

ROWS = (*GOOD, *BAD)


def lost(sent: Any, stored: Any, path: str = "") -> list[str]:
    """Paths of what was sent and is not stored as it was."""
    if isinstance(sent, dict) and isinstance(stored, dict):
        return [
            found
            for name, value in sent.items()
            for found in (lost(value, stored[name], f"{path}.{name}") if name in stored else [f"{path}.{name}"])
        ]
    if isinstance(sent, list) and isinstance(stored, list) and len(sent) == len(stored):
        pairs = enumerate(zip(sent, stored, strict=True))
        return [found for index, pair in pairs for found in lost(*pair, f"{path}[{index}]")]
    return [] if sent == stored else [path]
