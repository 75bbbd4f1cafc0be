"""The HTTP edge, a plain ASGI application: MCP at /mcp, and the endpoints that kubelet, operator and people read."""

import asyncio
import ipaddress
from collections.abc import Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from vmcp.gateway.answer import Headers, Receive, Send, send_refusal, send_whole
from vmcp.gateway.legacy import VERSIONS as LEGACY_VERSIONS
from vmcp.gateway.legacy import Legacy
from vmcp.gateway.modern import Modern
from vmcp.mcp import jsonrpc

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
MAX_DRAINED_BYTES: Final = 4 * MAX_BODY_BYTES
BODY_TIMEOUT_S: Final = 30.0

Page = Callable[[], tuple[int, bytes, str]]
"""Status, body and content type of one of the small endpoints."""

_LEGACY: Final = frozenset(version.encode() for version in LEGACY_VERSIONS)
_MODERN_MARK: Final = b'"io.modelcontextprotocol/protocolVersion"'
_ONCE: Final = (b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id")


class BodyError(Exception):
    """The body cannot be taken. `status` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Edge:
    """The ASGI application.

    Args:
        pages: the small endpoints by path.
        closed: why /mcp is not served right now; empty = it is.
    """

    def __init__(
        self, *, legacy: Legacy, modern: Modern, pages: MutableMapping[str, Page], closed: Callable[[], str]
    ) -> None:
        self._legacy = legacy
        self._modern = modern
        self._pages = pages
        self._closed = closed

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path == "/mcp" or path == "/mcp/":
            await self._mcp(scope, receive, send)
            return
        page = self._pages.get(path)
        if page is None:
            await send_whole(send, 404, b'{"error":"not found"}')
        elif scope["method"] not in ("GET", "HEAD"):
            await send_whole(send, 405, b"", [(b"allow", b"GET, HEAD")])
        else:
            status, body, content_type = page()
            await send_whole(send, status, body, [(b"content-type", content_type.encode())])

    async def _mcp(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        listed: Headers = scope["headers"]
        headers = dict(listed)
        reason = self._closed()
        if reason:
            await send_refusal(send, 503, jsonrpc.INTERNAL_ERROR, reason)
            return
        if b"origin" in headers and _foreign(headers, scope):
            await send_refusal(send, 403, jsonrpc.INVALID_REQUEST, "the Origin header is not allowed")
            return
        version = headers.get(b"mcp-protocol-version", b"")
        legacy = not version or version in _LEGACY
        session_id = headers.get(b"mcp-session-id", b"").decode("latin-1")
        match scope["method"]:
            case "POST":
                await self._post(listed, headers, session_id, legacy=legacy, receive=receive, send=send)
            case "GET" if legacy:
                if b"text/event-stream" not in headers.get(b"accept", b""):
                    await send_refusal(send, 406, jsonrpc.INVALID_REQUEST, "Accept must include text/event-stream")
                    return
                await self._legacy.stream(session_id, send=send, receive=receive)
            case "DELETE" if legacy:
                await self._legacy.delete(session_id, send=send)
            case _:
                allow = b"GET, POST, DELETE" if legacy else b"POST"
                await send_whole(send, 405, b"", [(b"allow", allow)])

    async def _post(
        self,
        listed: Headers,
        headers: dict[bytes, bytes],
        session_id: str,
        *,
        legacy: bool,
        receive: Receive,
        send: Send,
    ) -> None:
        accept = headers.get(b"accept", b"*/*")
        streams = b"text/event-stream" in accept
        whole = b"application/json" in accept or b"*/*" in accept or b"application/*" in accept
        if not streams and not whole:
            message = "Accept must include application/json and text/event-stream"
            await send_refusal(send, 406, jsonrpc.INVALID_REQUEST, message)
            return
        kind = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            await send_refusal(send, 415, jsonrpc.INVALID_REQUEST, "Content-Type must be application/json")
            return
        try:
            body = await _read(headers, receive)
        except BodyError as error:
            # What is left of the body would be read as the next request.
            close = [(b"connection", b"close")]
            await send_refusal(send, error.status, jsonrpc.INVALID_REQUEST, str(error), close)
            return
        if legacy and b"mcp-protocol-version" not in headers and not session_id and _MODERN_MARK in body:
            # A Modern body without its header: Modern says what is missing.
            legacy = False
        if body.lstrip()[:1] == b"[":
            if legacy:
                await self._legacy.batch(body, session_id, send=send)
            else:
                message = "batches are not supported; send one message a request"
                await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, message)
            return
        try:
            received = jsonrpc.decode(body)
        except (ValueError, RecursionError) as error:
            code = jsonrpc.PARSE_ERROR if not _is_json(body) else jsonrpc.INVALID_REQUEST
            await send_refusal(send, 400, code, f"the body is not a JSON-RPC message ({type(error).__name__})")
            return
        if received.id is not None and bytes(received.id)[:1] not in b'"-0123456789':
            await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, "id must be a string or a number")
        elif not received.method and not received.is_response:
            await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, "a message has a method, a result or an error")
        elif legacy:
            await self._legacy.post(received, session_id, streams=streams, whole=whole, send=send, receive=receive)
        elif len(listed) != len(headers) and any(_repeated(listed, name) for name in _ONCE):
            await send_refusal(send, 400, jsonrpc.HEADER_MISMATCH, "an Mcp- header is repeated")
        else:
            await self._modern.post(received, headers, streams=streams, whole=whole, send=send, receive=receive)


async def _read(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    body, length = b"", 0
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > MAX_DRAINED_BYTES:
        raise BodyError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyError(400, "the client left before its body was complete")
                chunk: bytes = message["body"]
                length += len(chunk)
                # What is too large is read on for a while and thrown away: a client that is still sending when the
                # connection closes never sees why.
                body = (body + chunk if body else chunk) if length <= MAX_BODY_BYTES else b""
                if not message.get("more_body", False) or length > MAX_DRAINED_BYTES:
                    break
    except TimeoutError:
        raise BodyError(408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    if length > MAX_BODY_BYTES:
        raise BodyError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return body


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _repeated(headers: Headers, name: bytes) -> bool:
    return sum(header == name for header, _ in headers) > 1


def _foreign(headers: dict[bytes, bytes], scope: MutableMapping[str, Any]) -> bool:
    """Whether a browser page of another host sends this.

    A connection over loopback is somebody's own machine: there only loopback pages are at home, whatever Host says
    (DNS rebinding makes Host and Origin agree).
    """
    origin = _host_of(headers[b"origin"])
    if _loopback(origin):
        return False
    server = scope.get("server") or ("", 0)
    return _loopback(str(server[0])) or origin != _host_of(b"//" + headers.get(b"host", b""))


def _host_of(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
