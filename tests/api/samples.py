"""Manifests to start from: the least of each kind with fields added, and all that a kind has."""

from typing import Any

GROUP = "toolhive.stacklok.dev"
Manifest = dict[str, Any]


def manifest(kind: str, spec: Manifest, *, version: str = "v1beta1", name: str = "sample") -> Manifest:
    return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}


def vmcp(*, version: str = "v1beta1", **spec: Any) -> Manifest:
    """A VirtualMCPServer with these fields beside the two required ones; None leaves one out."""
    whole = {"groupRef": {"name": "team"}, "incomingAuth": {"type": "anonymous"}, **spec}
    return manifest(
        "VirtualMCPServer",
        {name: value for name, value in whole.items() if value is not None},
        version=version,
    )


def config(**fields: Any) -> Manifest:
    return vmcp(config=fields)


def handling(**fields: Any) -> Manifest:
    return config(operational={"failureHandling": fields})


def breaker(**fields: Any) -> Manifest:
    return handling(circuitBreaker={"enabled": True, **fields})


def limits(rate: Manifest, **spec: Any) -> Manifest:
    return vmcp(config={"rateLimiting": rate}, **spec)


def entry(**fields: Any) -> Manifest:
    spec = {
        "groupRef": {"name": "team"},
        "remoteUrl": "https://mcp.example.com/mcp",
        "transport": "streamable-http",
    }
    whole = {**spec, **fields}
    return manifest("MCPServerEntry", {name: value for name, value in whole.items() if value is not None})


def proxy(**fields: Any) -> Manifest:
    whole = {"remoteUrl": "https://mcp.example.com/mcp", **fields}
    return manifest("MCPRemoteProxy", {name: value for name, value in whole.items() if value is not None})


def server(**fields: Any) -> Manifest:
    return manifest("MCPServer", {"image": "example.com/server:1", **fields})


BACKEND = {"name": "a", "url": "http://a.tools.svc:8080/mcp", "transport": "streamable-http"}
BUCKET = {"maxTokens": 10, "refillPeriod": "1m"}
REDIS = {"provider": "redis", "address": "redis:6379"}
OIDC = {"type": "oidc", "oidcConfigRef": {"name": "corp", "audience": "vmcp"}}
SECRET = {"name": "s", "key": "k"}
_ANNOTATIONS = {
    "title": "T",
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}
INLINE_AUTHZ = {
    "type": "inline",
    "inline": {"policies": ["permit(principal, action, resource);"], "entitiesJson": "[]"},
    "groupClaimName": "groups",
    "groupEntityType": "Group",
    "roleClaimName": "roles",
}
_POD_TEMPLATE = {"spec": {"containers": [{"name": "vmcp", "resources": {"limits": {"memory": "1Gi"}}}]}}
_STEP = {
    "id": "one",
    "type": "tool",
    "tool": "a_read",
    "arguments": {"path": "{{ .params.path }}", "depth": 3},
    "dependsOn": ["zero"],
    "onError": {"action": "retry", "retryCount": 2, "retryDelay": "1s"},
    "timeout": "10s",
    "defaultResults": {"text": ""},
}

EVERY_VMCP_FIELD = vmcp(
    incomingAuth={**OIDC, "authzConfig": INLINE_AUTHZ},
    outgoingAuth={
        "source": "inline",
        "default": {"type": "discovered"},
        "backends": {"a": {"type": "externalAuthConfigRef", "externalAuthConfigRef": {"name": "x"}}},
    },
    authServerConfig={
        "issuer": "https://auth.example.com",
        "allowConfidentialClientRegistration": True,
        "upstreamProviders": [
            {
                "name": "github",
                "type": "oauth2",
                "oauth2Config": {
                    "authorizationEndpoint": "https://github.com/login/oauth/authorize",
                    "tokenEndpoint": "https://github.com/login/oauth/access_token",
                    "clientId": "c",
                    "clientSecretRef": SECRET,
                    "userInfo": {"endpointUrl": "https://api.github.com/user"},
                },
            }
        ],
        "storage": {
            "type": "redis",
            "redis": {"addr": "redis:6379", "aclUserConfig": {"passwordSecretRef": SECRET}},
        },
        "tokenLifespans": {"accessTokenLifespan": "1h"},
    },
    embeddingServerRef={"name": "embed"},
    imagePullSecrets=[{"name": "pull"}],
    passthroughHeaders=["x-request-id"],
    podTemplateSpec=_POD_TEMPLATE,
    replicas=2,
    serviceAccount="own",
    serviceType="NodePort",
    sessionAffinity="None",
    sessionStorage={**REDIS, "db": 1, "keyPrefix": "v:", "passwordRef": SECRET},
    telemetryConfigRef={"name": "otel", "serviceName": "vmcp"},
    config={
        "name": "sample",
        "groupRef": "team",
        "metadata": {"team": "tools"},
        "passthroughHeaders": ["x-trace"],
        "backends": [
            {**BACKEND, "caBundlePath": "/etc/ca/a.pem", "metadata": {"k": "v"}, "type": "entry"},
            {**BACKEND, "name": "b", "transport": "sse", "type": ""},
        ],
        "aggregation": {
            "conflictResolution": "priority",
            "conflictResolutionConfig": {"prefixFormat": "{workload}.", "priorityOrder": ["a", "b"]},
            "defaultToolVisibility": "allow",
            "excludeAllTools": False,
            "tools": [
                {
                    "workload": "a",
                    "excludeAll": False,
                    "filter": ["read"],
                    "overrides": {"read": {"name": "fetch", "description": "d", "annotations": _ANNOTATIONS}},
                    "toolConfigRef": {"name": "shared"},
                }
            ],
        },
        "audit": {
            "enabled": True,
            "component": "c",
            "detectApplicationErrors": False,
            "eventTypes": ["mcp_tool_call"],
            "excludeEventTypes": ["mcp_ping"],
            "includeRequestData": True,
            "includeResponseData": True,
            "logFile": "/tmp/audit.log",
            "maxDataSize": 2048,
            "maxDelegationDepth": 3,
        },
        "codeMode": {
            "enabled": True,
            "parallelMaxConcurrency": 4,
            "stepLimit": 5000000000,
            "toolCallTimeout": "10s",
        },
        "compositeToolRefs": [{"name": "flow"}],
        "compositeTools": [
            {
                "name": "both",
                "description": "d",
                "annotations": _ANNOTATIONS,
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
                "steps": [_STEP],
                "output": {"properties": {"text": {"type": "string", "value": "{{ .steps.one.output }}"}}},
                "timeout": "1m",
            }
        ],
        "incomingAuth": {
            "type": "oidc",
            "oidc": {
                "issuer": "https://issuer.example.com",
                "clientId": "c",
                "audience": "vmcp",
                "clientSecretEnv": "VMCP_OIDC_CLIENT_SECRET",
                "caBundlePath": "/etc/ca/i.pem",
                "insecureAllowHttp": False,
                "introspectionUrl": "https://issuer.example.com/introspect",
                "jwksUrl": "https://issuer.example.com/jwks",
                "jwksAllowPrivateIp": True,
                "protectedResourceAllowPrivateIp": True,
                "resource": "https://vmcp.example.com",
                "scopes": ["openid"],
            },
            "authz": {
                "type": "cedar",
                "policies": ["permit(principal, action, resource);"],
                "entitiesJson": "[]",
                "groupClaimName": "groups",
                "groupEntityType": "Group",
                "primaryUpstreamProvider": "github",
                "roleClaimName": "roles",
            },
        },
        "operational": {
            "logLevel": "debug",
            "timeouts": {"default": "45s", "perWorkload": {"a": "1m30s", "b": "500ms"}},
            "failureHandling": {
                "healthCheckInterval": "20s",
                "healthCheckTimeout": "4.5s",
                "unhealthyThreshold": 2,
                "fastInterval": "0s",
                "degradedLatency": "2s",
                "statusReportingInterval": "30s",
                "partialFailureMode": "best_effort",
                "circuitBreaker": {
                    "enabled": True,
                    "failureThreshold": 4,
                    "timeout": "30s",
                    "backoffMultiplier": 1.5,
                    "maxTimeout": "10m",
                    "successThreshold": 2,
                },
            },
        },
        "optimizer": {
            "embeddingProvider": "tei",
            "embeddingModel": "m",
            "embeddingService": "http://embed",
            "embeddingServiceTimeout": "5s",
            "hybridSearchSemanticRatio": "0.5",
            "maxToolsToReturn": 8,
            "semanticDistanceThreshold": ".8",
        },
        "outgoingAuth": {
            "source": "inline",
            "default": {"type": "unauthenticated"},
            "backends": {
                "a": {
                    "type": "headerInjection",
                    "headerInjection": {"headerName": "X-Key", "headerValueEnv": "KEY"},
                }
            },
        },
        "rateLimiting": {
            "shared": BUCKET,
            "perUser": BUCKET,
            "tools": [{"name": "a_read", "shared": BUCKET, "perUser": BUCKET}],
        },
        "sessionStorage": {"provider": "redis", "address": "redis:6379", "db": 2, "keyPrefix": "v:"},
        "telemetry": {
            "endpoint": "otel:4318",
            "headers": {"x-key": "v"},
            "insecure": True,
            "serviceName": "s",
            "serviceVersion": "1",
            "tracingEnabled": True,
            "samplingRate": "0.1",
            "metricsEnabled": True,
            "enablePrometheusMetricsPath": True,
            "metricsOnTransportPort": True,
            "prometheusPort": 9090,
            "environmentVariables": ["HOSTNAME"],
            "customAttributes": {"k": "v"},
            "caCertPath": "/etc/ca/o.pem",
            "useLegacyAttributes": False,
        },
    },
)

EVERY_SERVER_FIELD = server(
    args=["--verbose"],
    audit={"enabled": True},
    authServerRef={"kind": "MCPExternalAuthConfig", "name": "as"},
    authzConfig=INLINE_AUTHZ,
    backendReplicas=1,
    endpointPrefix="/tools",
    env=[{"name": "A", "value": "1"}],
    externalAuthConfigRef={"name": "x"},
    groupRef={"name": "team"},
    mcpPort=8081,
    oidcConfigRef={"name": "corp", "audience": "a", "resourceUrl": "https://r", "scopes": ["openid"]},
    permissionProfile={"type": "configmap", "name": "p", "key": "k"},
    podTemplateSpec=_POD_TEMPLATE,
    proxyMode="sse",
    proxyPort=9000,
    rateLimiting={"perUser": BUCKET},
    replicas=2,
    resourceOverrides={
        "proxyDeployment": {
            "annotations": {"a": "1"},
            "labels": {"l": "1"},
            "env": [{"name": "B", "value": "2"}],
            "imagePullSecrets": [{"name": "pull"}],
            "podTemplateMetadataOverrides": {"annotations": {"a": "1"}, "labels": {"l": "1"}},
        },
        "proxyService": {"annotations": {"a": "1"}, "labels": {"l": "1"}},
    },
    resources={"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
    secrets=[{"name": "s", "key": "k", "targetEnvName": "S"}],
    serviceAccount="own",
    sessionAffinity="None",
    sessionStorage=REDIS,
    telemetryConfigRef={"name": "otel"},
    toolConfigRef={"name": "tools"},
    transport="sse",
    trustProxyHeaders=True,
    volumes=[{"name": "v", "hostPath": "/data", "mountPath": "/data", "readOnly": True}],
    webhookConfigRef={"name": "hooks"},
)

EVERY_ENTRY_FIELD = entry(
    allowPrivateEndpoint=True,
    caBundleRef={"configMapRef": {"name": "ca", "key": "ca.crt", "optional": True}},
    externalAuthConfigRef={"name": "x"},
    headerForward={
        "addPlaintextHeaders": {"X-Team": "tools"},
        "addHeadersFromSecret": [{"headerName": "X-Key", "valueSecretRef": SECRET}],
    },
)

EVERY_PROXY_FIELD = proxy(
    allowPrivateEndpoint=True,
    audit={"enabled": True},
    authServerRef={"kind": "MCPExternalAuthConfig", "name": "as"},
    authzConfig=INLINE_AUTHZ,
    endpointPrefix="/far",
    externalAuthConfigRef={"name": "x"},
    groupRef={"name": "team"},
    headerForward=EVERY_ENTRY_FIELD["spec"]["headerForward"],
    oidcConfigRef={"name": "corp", "audience": "a", "resourceUrl": "https://r", "scopes": ["openid"]},
    podTemplateSpec=_POD_TEMPLATE,
    proxyPort=9000,
    replicas=2,
    resourceOverrides=EVERY_SERVER_FIELD["spec"]["resourceOverrides"],
    resources=EVERY_SERVER_FIELD["spec"]["resources"],
    serviceAccount="own",
    sessionAffinity="None",
    sessionStorage=REDIS,
    telemetryConfigRef={"name": "otel", "serviceName": "far"},
    toolConfigRef={"name": "tools"},
    transport="sse",
    trustProxyHeaders=True,
)

EVERY_FIELD = (EVERY_VMCP_FIELD, EVERY_SERVER_FIELD, EVERY_ENTRY_FIELD, EVERY_PROXY_FIELD)
"""Manifests that use every field: what the API server stores must contain all of it."""
