"""Envoy's active health checking of the same endpoints."""

import json


def configuration(addresses: list[str], port: int, interval_s: float) -> str:
    """Bootstrap with one static cluster whose hosts are checked by POST; no listener, no admin interface."""
    check = {
        "timeout": "10s",
        "interval": f"{interval_s:.3f}s",
        "no_traffic_interval": f"{interval_s:.3f}s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "reuse_connection": True,
        "http_health_check": {"path": "/mcp", "host": "bench", "method": "POST"},
    }
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}} for address in addresses
    ]
    cluster = {
        "name": "backends",
        "type": "STATIC",
        "connect_timeout": "5s",
        "health_checks": [check],
        "load_assignment": {"cluster_name": "backends", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    return json.dumps({"static_resources": {"clusters": [cluster]}})
