"""What a client is told when a backend cannot answer."""

from vmcp.gateway.answer import rpc_error
from vmcp.gateway.upstream import Upstream
from vmcp.health.snapshot import Circuit
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import BackendError
from vmcp.mcp.jsonrpc import JsonRpcError


def unavailable(upstream: Upstream, *, because: str = "", retry_s: int | None = None) -> JsonRpcError:
    """The fast failure of design §6: the backend is out, nothing was sent to it.

    Args:
        because: why, in a few words; empty = as its health and circuit say.
        retry_s: seconds after which another attempt makes sense; None = the end of the open time, where there is one.
    """
    snapshot = upstream.snapshot
    if retry_s is None:
        retry_s = upstream.retry_after_s()
    message = f"backend '{upstream.name}' is unavailable ({because or _because(upstream)})"
    if retry_s is not None:
        message += f", retry in {retry_s} s"
    return rpc_error(
        jsonrpc.BACKEND_UNAVAILABLE,
        message,
        {
            "backend": upstream.name,
            "status": snapshot.health.value,
            "circuit": snapshot.circuit.value,
            "retryAfterSeconds": retry_s,
        },
    )


def failed(upstream: Upstream, error: BackendError) -> JsonRpcError:
    """A call that got no answer. What was never sent reads as unavailable: repeating it is safe."""
    retry_s = round(error.retry_after_s) if error.retry_after_s is not None else None
    if not error.sent:
        return unavailable(upstream, because=error.category.value, retry_s=retry_s)
    return rpc_error(
        jsonrpc.INTERNAL_ERROR,
        f"backend '{upstream.name}' gave no answer: {error}",
        {"backend": upstream.name, "category": error.category.value, "retryAfterSeconds": retry_s},
    )


def _because(upstream: Upstream) -> str:
    if upstream.config.unavailable_reason:
        return upstream.config.unavailable_reason
    if upstream.snapshot.circuit is not Circuit.CLOSED:
        return f"circuit {upstream.snapshot.circuit.value}"
    return upstream.snapshot.health.value
