"""How an HTTP answer is read: which are MCP, and what the others say of the backend (mcp-wire §1.7, §2.7, §3)."""

import asyncio
import email.utils
import time
from typing import Final

from vmcp.api.category import ErrorCategory
from vmcp.mcp import jsonrpc
from vmcp.mcp.errors import BackendError
from vmcp.mcp.jsonrpc import Message
from vmcp.mcp.transport import Response, TransportError

MOST_RETRY_AFTER_SECONDS: Final = 300.0
MOST_ANSWER_BYTES: Final = 32 * 1024 * 1024
MOST_LIFE_SIGN_BYTES: Final = 1024 * 1024
"""For the answers to `ping`, `server/discover` and `initialize`, all messages before them included."""

GATEWAY_ERRORS: Final = frozenset({502, 503, 504})
"""What a proxy says of a backend that it cannot reach."""
_ANSWERING: Final = frozenset({200, 400, 404})
"""Statuses under which a JSON-RPC body is an answer; under any other the status alone speaks."""
_REASONS_4XX: Final = {
    400: "is the URL that of an MCP server?",
    404: "check the path of the URL",
    405: "the URL takes no POST; check its path and the transport",
    406: "it accepts neither JSON nor event streams together; is the URL that of an MCP server?",
    407: "a proxy on the way asks for credentials",
    413: "the request is too large for it",
    415: "it takes no JSON; is the URL that of an MCP server?",
    421: "it does not know the host name; allow it in the server's Host check",
}


def refused(response: Response) -> BackendError | None:
    """The failure that the status alone shows, None where the body decides."""
    status = response.status
    if status in _ANSWERING:
        return None
    if status < 300:
        return _failure(
            ErrorCategory.PROTOCOL, f"The server took the request with HTTP {status} and gave no answer to it.", status
        )
    if status < 400:
        return _failure(
            ErrorCategory.REDIRECT, "The server redirects, and redirects are never followed; set the final URL.", status
        )
    wait = retry_after_seconds(response.headers.get("retry-after", ""), now=time.time())
    if status in (401, 403):
        what = "asks for credentials" if status == 401 else "refuses the credentials or the origin"
        return _failure(ErrorCategory.AUTH_REQUIRED, f"The server {what} (HTTP {status}).", status)
    if status == 429:
        return _failure(ErrorCategory.RATE_LIMITED, "The server limits our rate (HTTP 429).", status, wait)
    if status < 500:
        return _client_error(status)
    if status == 503 and wait is not None:
        return _failure(
            ErrorCategory.OVERLOADED, "The server is overloaded and asks to come back later (HTTP 503).", status, wait
        )
    return _failure(ErrorCategory.HTTP_5XX, f"The server fails with HTTP {status}; its log says why.", status, wait)


def rejected(response: Response) -> BackendError | None:
    """The failure that the answer to a notification or a response of ours shows; None where it was accepted."""
    if 200 <= response.status < 300:
        return None
    return refused(response) or _client_error(response.status)


async def speaks(response: Response, deadline: float) -> bool:
    """Whether a 502, 503 or 504 carries a JSON-RPC response: a proxy that says so of a backend speaks none."""
    if response.status not in GATEWAY_ERRORS or _kind(response) != "application/json":
        return False
    try:
        seconds = deadline - asyncio.get_running_loop().time()
        body = await response.read(limit=MOST_LIFE_SIGN_BYTES, timeout=seconds)
        return jsonrpc.decode(body).is_response
    except (TransportError, ValueError):
        return False


async def read_message(response: Response, deadline: float, *, limit: int) -> Message:
    """The one message in a JSON body under a status that `refused` lets pass. `deadline` in loop time.

    Raises:
        BackendError: protocol, or http_4xx where a 400 or 404 has no JSON-RPC body, timeout, connect.
    """
    status = response.status
    kind = _kind(response)
    if kind not in ("application/json", "") or "content-encoding" in response.headers:
        response.release()
        raise _not_mcp(response, kind)
    try:
        body = await response.read(limit=limit, timeout=deadline - asyncio.get_running_loop().time())
    except TransportError as error:
        raise BackendError(error.category, str(error), http_status=status) from None
    try:
        message = jsonrpc.decode(body)
    except ValueError:
        raise _not_mcp(response, kind) from None
    if not message.is_response:
        raise _not_mcp(response, kind)
    return message


def retry_after_seconds(value: str, *, now: float) -> float | None:
    """Retry-After as seconds from `now` (wall clock), at most 300; None where there is none or it cannot be read."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        # more digits than this are over the bound anyway, and int() refuses thousands of them
        return min(float(value[:9]), MOST_RETRY_AFTER_SECONDS)
    try:
        when = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(when - now, 0.0), MOST_RETRY_AFTER_SECONDS)


def unmatched() -> BackendError:
    """An answer that carries another request's id."""
    return BackendError(ErrorCategory.PROTOCOL, "The server answered with the id of another request.", http_status=200)


def _kind(response: Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _failure(category: ErrorCategory, message: str, status: int, retry_after_s: float | None = None) -> BackendError:
    return BackendError(category, message, http_status=status, retry_after_s=retry_after_s)


def _client_error(status: int) -> BackendError:
    advice = _REASONS_4XX.get(status, "is the URL that of an MCP server?")
    return _failure(ErrorCategory.HTTP_4XX, f"The server refuses the request with HTTP {status}; {advice}.", status)


def _not_mcp(response: Response, kind: str) -> BackendError:
    if response.status != 200:
        return _client_error(response.status)
    if "content-encoding" in response.headers:
        said = "a compressed body, which nobody asked for"
    elif "html" in kind:
        said = "an HTML page; is the URL that of an MCP server?"
    elif kind == "application/json":
        said = "JSON that is no JSON-RPC response; is the URL that of an MCP server?"
    else:
        said = "something else than JSON; is the URL that of an MCP server?"
    return _failure(ErrorCategory.PROTOCOL, f"The server answered with {said}", 200)
