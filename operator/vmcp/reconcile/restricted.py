"""What the pods of our own image have in common: the restricted Pod Security Standard, and how they are probed."""

from vmcp.kube.client import JsonObject


def pod_security() -> JsonObject:
    """Of a Pod's spec."""
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def container_security() -> JsonObject:
    """Of its container, which writes nothing to its own image."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def http_probe(path: str, *, initial: int, period: int, timeout: int) -> JsonObject:
    """Asks the container's port `http`; three failures in a row count. Times are in seconds."""
    return {
        "httpGet": {"path": path, "port": "http"},
        "initialDelaySeconds": initial,
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": 3,
    }
