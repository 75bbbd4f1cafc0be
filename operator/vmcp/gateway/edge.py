"""The HTTP edge, a plain ASGI application: MCP at /mcp, and the endpoints that kubelet, operator and people read."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol

import msgspec

from vmcp.gateway.answer import Headers, Receive, Send, send_refusal, send_whole
from vmcp.gateway.depth import deeper_than
from vmcp.gateway.hosts import Hosts
from vmcp.gateway.legacy import VERSIONS as LEGACY_VERSIONS
from vmcp.gateway.legacy import Legacy
from vmcp.gateway.limits import Limits
from vmcp.gateway.passthrough import Passed, Passthrough
from vmcp.gateway.utf8 import is_utf8
from vmcp.mcp import jsonrpc
from vmcp.mcp.jsonrpc import Message

DRAINED_BODIES: Final = 4
"""What is too large is read on for this many times the limit."""

Content = tuple[int, bytes, str]
"""Status, body and content type."""
Page = Callable[[], Content | Awaitable[Content]]
"""One of the small endpoints."""
Moved = Callable[[MutableMapping[str, Any], Headers, bytes, str], Awaitable[bool]]
"""Takes scope, headers, body and session id of a request."""

_LEGACY: Final = frozenset(version.encode() for version in LEGACY_VERSIONS)
_MODERN_MARK: Final = b'"io.modelcontextprotocol/protocolVersion"'
_ALONE: Final = (b"host", b"origin", b"content-length", b"content-type", b"mcp-session-id")
_ONCE: Final = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")


class BodyError(Exception):
    """The body cannot be taken. `status` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Speaker(Protocol):
    """Speaks another era than Legacy with clients."""

    async def post(
        self,
        message: Message,
        headers: Mapping[bytes, bytes],
        *,
        passed: Passed,
        streams: bool,
        whole: bool,
        send: Send,
        receive: Receive,
    ) -> None:
        """One message of a client."""


class Edge:
    """The ASGI application.

    Args:
        pages: the small endpoints by path.
        closed: why /mcp is not served right now; empty = it is.
        refused: told why, in one word, when a request is refused before its message was read.
        moved: brings a request to the process that it belongs to; False = to this one. None = there is no other.
    """

    def __init__(
        self,
        *,
        legacy: Legacy,
        modern: Speaker,
        pages: MutableMapping[str, Page],
        closed: Callable[[], str],
        hosts: Hosts,
        limits: Limits,
        passthrough: Passthrough,
        refused: Callable[[str], None],
        moved: Moved | None = None,
    ) -> None:
        self._moved = moved
        self._legacy = legacy
        self._modern = modern
        self._pages = pages
        self._closed = closed
        self._hosts = hosts
        self._limits = limits
        self._passthrough = passthrough
        self._refused = refused

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        listed: Headers = scope["headers"]
        headers = dict(listed)
        if len(listed) != len(headers) and any(_repeated(listed, name) for name in _ALONE):
            await self._refuse(send, 400, "header", "a header that may be there once is repeated")
            return
        if not self._hosts.takes(headers.get(b"host", b"")):
            await self._refuse(send, 421, "host", "this gateway is not reached under the host of the Host header")
            return
        if path == "/mcp" or path == "/mcp/":
            await self._mcp(scope, listed, headers, receive, send)
            return
        page = self._pages.get(path)
        if page is None:
            await send_whole(send, 404, b'{"error":"not found"}')
        elif scope["method"] not in ("GET", "HEAD"):
            await send_whole(send, 405, b"", [(b"allow", b"GET, HEAD")])
        else:
            content = page()
            status, body, content_type = content if isinstance(content, tuple) else await content
            await send_whole(send, status, body, [(b"content-type", content_type.encode())])

    async def _refuse(self, send: Send, status: int, reason: str, message: str, headers: Headers | None = None) -> None:
        self._refused(reason)
        await send_refusal(send, status, jsonrpc.INVALID_REQUEST, message, headers)

    async def _mcp(
        self,
        scope: MutableMapping[str, Any],
        listed: Headers,
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Send,
    ) -> None:
        if b"origin" in headers and not self._hosts.welcomes(headers[b"origin"], headers.get(b"host", b"")):
            await self._refuse(send, 403, "origin", "web pages of this Origin may not call the gateway")
            return
        reason = self._closed()
        if reason:
            await send_refusal(send, 503, jsonrpc.INTERNAL_ERROR, reason)
            return
        version = headers.get(b"mcp-protocol-version", b"")
        legacy = not version or version in _LEGACY
        session_id = headers.get(b"mcp-session-id", b"").decode("latin-1")
        method = scope["method"]
        elsewhere = self._moved if method != "POST" and session_id else None
        if elsewhere is not None and await elsewhere(scope, listed, b"", session_id):
            return
        match method:
            case "POST":
                await self._post(scope, listed, headers, session_id, legacy=legacy, receive=receive, send=send)
            case "GET" if legacy:
                if b"text/event-stream" not in headers.get(b"accept", b""):
                    await send_refusal(send, 406, jsonrpc.INVALID_REQUEST, "Accept must include text/event-stream")
                    return
                last_event_id = headers.get(b"last-event-id", b"").decode("latin-1")
                await self._legacy.stream(session_id, last_event_id=last_event_id, send=send, receive=receive)
            case "DELETE" if legacy:
                await self._legacy.delete(session_id, send=send)
            case _:
                allow = b"GET, POST, DELETE" if legacy else b"POST"
                await send_whole(send, 405, b"", [(b"allow", allow)])

    async def _post(
        self,
        scope: MutableMapping[str, Any],
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
        passed = self._passthrough.of(listed)
        try:
            body = await _read(headers, receive, self._limits)
        except BodyError as error:
            # What is left of the body would be read as the next request.
            await self._refuse(send, error.status, "body", str(error), [(b"connection", b"close")])
            return
        if not is_utf8(body):
            await send_refusal(send, 400, jsonrpc.PARSE_ERROR, "the body is not UTF-8")
            return
        if deeper_than(body, self._limits.json_depth):
            message = f"the body nests deeper than {self._limits.json_depth} objects and arrays"
            await self._refuse(send, 400, "depth", message)
            return
        if self._moved is not None and await self._moved(scope, listed, body, session_id if legacy else ""):
            return
        if legacy and b"mcp-protocol-version" not in headers and not session_id and _MODERN_MARK in body:
            # A Modern body without its header: Modern says what is missing.
            legacy = False
        if body.lstrip()[:1] == b"[":
            if legacy:
                await self._legacy.batch(body, session_id, passed=passed, send=send)
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
            await self._legacy.post(
                received, session_id, passed=passed, streams=streams, whole=whole, send=send, receive=receive
            )
        elif len(listed) != len(headers) and any(_repeated(listed, name) for name in _ONCE):
            await send_refusal(send, 400, jsonrpc.HEADER_MISMATCH, "an Mcp- header is repeated")
        else:
            await self._modern.post(
                received, headers, passed=passed, streams=streams, whole=whole, send=send, receive=receive
            )


async def _read(headers: dict[bytes, bytes], receive: Receive, limits: Limits) -> bytes:
    body: bytes | bytearray = b""
    length, most = 0, limits.body_bytes
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > DRAINED_BODIES * most:
        raise BodyError(413, f"the body is larger than {most} bytes")
    try:
        async with asyncio.timeout(limits.body_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyError(400, "the client left before its body was complete")
                chunk: bytes = message["body"]
                length += len(chunk)
                # What is too large is read on for a while and thrown away: a client that is still sending when the
                # connection closes never sees why.
                if length > most:
                    body = b""
                elif body:
                    body = body if isinstance(body, bytearray) else bytearray(body)
                    body += chunk
                else:
                    body = chunk
                if not message.get("more_body", False) or length > DRAINED_BODIES * most:
                    break
    except TimeoutError:
        raise BodyError(408, f"the body did not arrive within {limits.body_s:g} s") from None
    if length > most:
        raise BodyError(413, f"the body is larger than {most} bytes")
    return bytes(body)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _repeated(headers: Headers, name: bytes) -> bool:
    return sum(header == name for header, _ in headers) > 1
