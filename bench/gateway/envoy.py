"""Envoy with its MCP filters in front of the same backends, one worker."""

import json
from typing import Any, Final

_TYPES: Final = "type.googleapis.com/envoy.extensions.filters"


def configuration(listening: int, addresses: list[str], port: int) -> str:
    """Bootstrap with `mcp` and `mcp_router` over one cluster for each backend, named b1, b2 and so on; no admin."""
    names = [f"b{number}" for number in range(1, len(addresses) + 1)]
    router = {
        "@type": f"{_TYPES}.http.mcp_router.v3.McpRouter",
        "servers": [{"name": name, "mcp_cluster": {"cluster": name, "path": "/mcp"}} for name in names],
    }
    route = {"match": {"prefix": "/mcp"}, "route": {"cluster": names[0]}}
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "mcp",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.mcp", "typed_config": {"@type": f"{_TYPES}.http.mcp.v3.Mcp"}},
            {"name": "envoy.filters.http.mcp_router", "typed_config": router},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"address": _address("127.0.0.1", listening), "filter_chains": [chain]}
    clusters = [_cluster(name, address, port) for name, address in zip(names, addresses, strict=True)]
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}})


def _cluster(name: str, address: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(address, port)}}]}]
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
