"""Keeps a status within what the API server stores: history goes first, then texts, never a state."""

import json

from vmcp.kube.client import JsonObject

# etcd takes 1.5 MiB for the whole object: spec, status, and managedFields, which name every field of every
# backend and so are about half as long as the status itself.
STATUS_MAX_BYTES = 768 * 1024

_DROPPED_IN_TURN = ("transitions", "message")


def fitted(status: JsonObject, max_bytes: int = STATUS_MAX_BYTES) -> JsonObject:
    """The status in its JSON form, with as much of it as fits; what a gateway routes by is always kept."""
    for field in _DROPPED_IN_TURN:
        if len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode()) <= max_bytes:
            break
        backends = [
            {name: value for name, value in backend.items() if name != field}
            for backend in status.get("discoveredBackends", ())
        ]
        status = status | {"discoveredBackends": backends}
    return status
