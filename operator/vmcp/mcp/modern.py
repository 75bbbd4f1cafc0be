"""Modern over Streamable HTTP: stateless, an envelope in `_meta` with every request (mcp-wire §2)."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.api.category import ErrorCategory
from vmcp.mcp import answers, jsonrpc
from vmcp.mcp.dialect import (
    LISTEN_IDLE_SECONDS,
    LISTEN_OPEN_SECONDS,
    Begun,
    HttpDialect,
    JsonObject,
    gone,
    speaks_of_session,
)
from vmcp.mcp.endpoint import Endpoint, Headers, Identity, plain
from vmcp.mcp.errors import BackendError
from vmcp.mcp.exchange import Era, Exchange, Reply, stream_messages
from vmcp.mcp.jsonrpc import JsonRpcError, Message

REVISION: Final = "2026-07-28"

_META: Final = "io.modelcontextprotocol/"
_MOST_KEPT_HEADERS: Final = 256
"""Names are as many as tools, but URIs are without number."""
_LISTEN_TO: Final = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


class DiscoverResult(msgspec.Struct, rename="camel"):
    """The answer to `server/discover`, as far as it is needed."""

    supported_versions: list[str]
    capabilities: JsonObject = {}
    meta: JsonObject = msgspec.field(name="_meta", default_factory=dict)

    @property
    def server_info(self) -> JsonObject:
        """Name and version of the server, empty where it does not say."""
        info = self.meta.get(_META + "serverInfo")
        return info if isinstance(info, dict) else {}


class Modern(HttpDialect):
    """A backend that speaks Modern.

    Attributes:
        speaks: the server lists our revision.
        settled: its era is no longer in question, so that errors which speak of another era end the dialect.
    """

    era = Era.MODERN
    revision = REVISION
    cancels_by_message = False

    def __init__(self, endpoint: Endpoint, identity: Identity) -> None:
        super().__init__(endpoint)
        self.capabilities = {}
        self.server_info = {}
        self._client_info = msgspec.json.encode({"name": identity.name, "version": identity.version})
        self._versioned = endpoint.post_headers(("mcp-protocol-version", REVISION))
        self._discover_headers = (*self._versioned, ("mcp-method", "server/discover"))
        self._discover_tail = b',"method":"server/discover","params":' + envelope(b"", b"{}", self._client_info) + b"}"
        self._discovered: bytes | None = None
        self._headers: dict[tuple[str, str], Headers] = {}
        self.speaks = False
        self.settled = False

    async def discover(self, deadline: float) -> Reply:
        """Ask `server/discover`. A JSON-RPC error is a reply."""
        ident = b"%d" % next(self._ids)
        body = b'{"jsonrpc":"2.0","id":' + ident + self._discover_tail
        exchange = await self._exchange(
            "server/discover", self._discover_headers, ident, body, deadline, most_bytes=answers.MOST_LIFE_SIGN_BYTES
        )
        reply = await exchange.response()
        if reply.result is not None and reply.result != self._discovered:
            self._learn(reply.result)
        return reply

    async def ping(self, deadline: float) -> None:
        """`server/discover`; a server that no longer knows it has changed its era."""
        reply = await self.discover(deadline)
        if reply.error is not None and reply.error.code == jsonrpc.METHOD_NOT_FOUND:
            raise gone(200)

    async def request(
        self,
        method: str,
        params: bytes,
        *,
        name: str,
        deadline: float,
        headers: Headers,
        client_capabilities: bytes,
        log_level: str,
    ) -> Exchange:
        """POST the request in its envelope."""
        ident = b"%d" % next(self._ids)
        enveloped = envelope(params, client_capabilities, self._client_info, log_level)
        body = jsonrpc.encode_request(ident, method, enveloped)
        return await self._exchange(method, self._addressed(method, name), ident, body, deadline, once=plain(headers))

    def begin(
        self, method: str, fields: Mapping[str, Raw], *, name: str, headers: Headers, client_capabilities: bytes
    ) -> Begun | None:
        """POST the request in its envelope, on an idle connection."""
        ident = b"%d" % next(self._ids)
        meta = Raw(_enveloped(bytes(fields.get("_meta", b"{}")), client_capabilities, self._client_info))
        body = jsonrpc.encode_request(ident, method, _encode({**fields, "_meta": meta}))
        once = plain(headers) if headers else ()
        pending = self._endpoint.begin(self._addressed(method, name), body, once=once)
        return None if pending is None else Begun(self, pending, ident)

    async def notify(self, message: bytes, deadline: float) -> None:
        """POST the message."""
        response = await self._endpoint.send("POST", self._versioned, message, deadline)
        response.release()
        failure = answers.rejected(response)
        if failure is not None:
            raise failure

    async def messages(self, uris: Sequence[str], opened: Callable[[], None]) -> AsyncGenerator[Message, None]:
        """What comes of `subscriptions/listen`: changes of lists, and updates of these resources."""
        deadline = asyncio.get_running_loop().time() + LISTEN_OPEN_SECONDS
        ident = b"%d" % next(self._ids)
        wanted = {**_LISTEN_TO, "resourceSubscriptions": uris} if uris else _LISTEN_TO
        params = envelope(msgspec.json.encode({"notifications": wanted}), b"{}", self._client_info)
        body = jsonrpc.encode_request(ident, "subscriptions/listen", params)
        response = await self._endpoint.send("POST", self._addressed("subscriptions/listen", ""), body, deadline)
        self._change_stream(response)
        try:
            messages = stream_messages(response, deadline=None, idle_seconds=LISTEN_IDLE_SECONDS)
            async with aclosing(messages):
                async for message in messages:
                    if message.is_response:
                        return
                    if message.method == "notifications/subscriptions/acknowledged":
                        opened()
                    else:
                        yield message
        finally:
            response.close()

    async def end(self, deadline: float) -> None:
        """Nothing: the server keeps nothing for us."""

    def _gone(self, status: int, error: JsonRpcError | None) -> bool:
        if error is None or not self.settled:
            return False
        return error.code == jsonrpc.UNSUPPORTED_VERSION or speaks_of_session(error)

    def _addressed(self, method: str, name: str) -> Headers:
        headers = self._headers.get((method, name))
        if headers is None:
            headers = (*self._versioned, ("mcp-method", method))
            headers = (*headers, ("mcp-name", header_text(name))) if name else headers
            if len(self._headers) >= _MOST_KEPT_HEADERS:
                self._headers.clear()
            self._headers[method, name] = headers
        return headers

    def _learn(self, result: bytes) -> None:
        try:
            found = msgspec.json.decode(result, type=DiscoverResult)
        except ValueError:
            raise BackendError(
                ErrorCategory.PROTOCOL, "The server's answer to server/discover is not MCP.", http_status=200
            ) from None
        self._discovered = result
        self.capabilities = found.capabilities
        self.server_info = found.server_info
        self.speaks = REVISION in found.supported_versions


_encode: Final = msgspec.json.Encoder().encode
_params_of: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_MOST_KEPT_META_BYTES: Final = 2048


def envelope(params: bytes, client_capabilities: bytes, client_info: bytes, log_level: str = "") -> bytes:
    """`params` with what Modern requires merged into its `_meta`; all else passes through as bytes.

    Args:
        log_level: the least severe log messages to send; empty = as `params` say, which may be none.

    Raises:
        ValueError: `params` is not a JSON object.
    """
    params = params.strip()
    if b'"_meta"' not in params:
        inner = params[1:-1].strip()
        meta = _merged(b"{}", client_capabilities, client_info, log_level)
        return b"{" + inner + (b"," if inner else b"") + b'"_meta":' + meta + b"}"
    members = _params_of(params)
    members["_meta"] = Raw(_merged(bytes(members.get("_meta", b"{}")), client_capabilities, client_info, log_level))
    return _encode(members)


def _enveloped(meta: bytes, client_capabilities: bytes, client_info: bytes) -> bytes:
    # Nearly every call of a client says the same.
    if len(meta) + len(client_capabilities) > _MOST_KEPT_META_BYTES:
        return _merged(meta, client_capabilities, client_info)
    return _kept(meta, client_capabilities, client_info)


def _merged(meta: bytes, client_capabilities: bytes, client_info: bytes, log_level: str = "") -> bytes:
    """A request's own `_meta` with what Modern requires. Raises ValueError: it is not a JSON object."""
    theirs = _params_of(meta)
    for key in ("protocolVersion", "clientCapabilities", "clientInfo"):
        theirs.pop(_META + key, None)
    if log_level:
        theirs.pop(_META + "logLevel", None)
    kept = _encode(theirs)[1:-1]
    ours = (
        b'"io.modelcontextprotocol/protocolVersion":"' + REVISION.encode() + b'",'
        b'"io.modelcontextprotocol/clientCapabilities":' + client_capabilities + b","
        b'"io.modelcontextprotocol/clientInfo":' + client_info
    )
    if log_level:
        ours += b',"io.modelcontextprotocol/logLevel":"' + log_level.encode() + b'"'
    return b"{" + kept + (b"," if kept else b"") + ours + b"}"


_kept = lru_cache(maxsize=256)(_merged)


def header_text(text: str) -> str:
    """A name or URI as a header value: as it is where that is safe, else Base64 in the form of the specification."""
    plain_text = text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?")
    if plain_text:
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
