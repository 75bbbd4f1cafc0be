"""Modern clients (2026-07-28): stateless requests with their envelope, `server/discover`, `subscriptions/listen`."""

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import (
    KEEP_ALIVE,
    STREAM_HEADERS,
    HttpAnswer,
    Receive,
    Send,
    rpc_error,
    send_refusal,
    send_whole,
    sse,
)
from vmcp.gateway.ask import LOG_LEVELS, SILENT, Ask, fields_of
from vmcp.gateway.changes import Changed, Changes, Listener
from vmcp.gateway.flight import watch_client
from vmcp.gateway.links import Links
from vmcp.gateway.params import header_text
from vmcp.gateway.passthrough import Passed
from vmcp.gateway.results import MODERN_LIST_TAIL
from vmcp.gateway.router import Router
from vmcp.gateway.upstream import Upstream
from vmcp.gateway.watches import UPDATED, Watches
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import Era
from vmcp.mcp.jsonrpc import JsonRpcError, Message

VERSION: Final = "2026-07-28"
VERSIONS: Final = (VERSION,)
KEEP_ALIVE_S: Final = 15.0
MAX_SUBSCRIPTIONS: Final = 10_000

_PREFIX: Final = "io.modelcontextprotocol/"
_SUBSCRIPTION_ID: Final = _PREFIX + "subscriptionId"
_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_FILTERS: Final = {
    "toolsListChanged": Changed.TOOLS,
    "promptsListChanged": Changed.PROMPTS,
    "resourcesListChanged": Changed.RESOURCES,
}

CAPABILITIES: Final = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": True},
    "completions": {},
}


class _Meta(
    msgspec.Struct,
    rename={
        "version": _PREFIX + "protocolVersion",
        "capabilities": _PREFIX + "clientCapabilities",
        "log_level": _PREFIX + "logLevel",
    },
):
    version: str = ""
    capabilities: Raw = Raw(b"")
    log_level: str = ""


_meta_of = msgspec.json.Decoder(_Meta).decode
_MOST_KEPT_META_BYTES: Final = 2048


def _capabilities(meta: bytes) -> bytes | None:
    try:
        found = _meta_of(meta)
    except msgspec.MsgspecError:
        return None
    in_order = found.version == VERSION and not found.log_level and bytes(found.capabilities).startswith(b"{")
    return bytes(found.capabilities) if in_order else None


_kept_capabilities = lru_cache(maxsize=256)(_capabilities)


class Modern:
    """Speaks Modern with clients."""

    def __init__(
        self,
        *,
        router: Router,
        changes: Changes,
        links: Links,
        route: Callable[[str], Upstream | None],
        tasks: asyncio.TaskGroup,
        server_info: Mapping[str, str],
    ) -> None:
        self._router = router
        self._watches = Watches(links=links, route=route)
        self._changes = changes
        self._tasks = tasks
        self._subscriptions = 0
        discovery = {"supportedVersions": VERSIONS, "capabilities": CAPABILITIES}
        meta = {"_meta": {_PREFIX + "serverInfo": dict(server_info)}}
        self._discovery = _joined(msgspec.json.encode(discovery)[:-1] + MODERN_LIST_TAIL, meta)

    def capabilities(self, name: str, fields: dict[str, Raw], headers: Mapping[bytes, bytes]) -> bytes | None:
        """What the client of a `tools/call` can be asked; None where headers or envelope are not in order, or where it
        asks for log messages. That it speaks our version is known.
        """
        meta = bytes(fields.get("_meta", b""))
        # Nearly every call of a client says the same.
        found = _capabilities(meta) if len(meta) > _MOST_KEPT_META_BYTES else _kept_capabilities(meta)
        if found is None:
            return None
        plain = headers.get(b"mcp-name", b"").decode("latin-1") == name and not name.startswith("=?")
        if plain and headers.get(b"mcp-method") == b"tools/call":
            return found
        return found if _envelope_error("tools/call", fields, _meta_of(meta), headers) is None else None

    def answer(self, ident: bytes, send: Send) -> HttpAnswer:
        """Where the answer to a request goes."""
        return HttpAnswer(send, ident, Era.MODERN, streams=True)

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
        if not message.method:
            await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, "clients post requests and notifications only")
            return
        if message.id is None:
            await send_whole(send, 202)
            return
        answer = HttpAnswer(send, bytes(message.id), Era.MODERN, streams=streams, whole=whole)
        params = bytes(message.params) if message.params is not None else b""
        try:
            fields = fields_of(params) if params else {}
            meta = _meta_of(fields["_meta"]) if "_meta" in fields else _Meta()
        except msgspec.MsgspecError:
            await answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params and params._meta must be objects"))
            return
        error = _envelope_error(message.method, fields, meta, headers)
        if error is not None:
            await answer.error(error)
            return
        ask = Ask(
            message.method,
            params,
            answer,
            fields,
            capabilities=bytes(meta.capabilities),
            log_level=LOG_LEVELS.index(meta.log_level) if meta.log_level in LOG_LEVELS else SILENT,
            receive=receive,
            passed=passed,
            headers=headers,
        )
        if await self._router.handle(ask):
            return
        match message.method:
            case "server/discover":
                await answer.result(self._discovery)
            case "subscriptions/listen":
                await self._listen(ask, bytes(message.id), send=send, receive=receive)
            case method:
                await answer.error(rpc_error(jsonrpc.METHOD_NOT_FOUND, f"unknown method: {method}"))

    async def _listen(self, ask: Ask, ident: bytes, *, send: Send, receive: Receive) -> None:
        try:
            asked = fields_of(ask.fields["notifications"])
        except (KeyError, msgspec.MsgspecError):
            await ask.answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params.notifications must be an object"))
            return
        if self._subscriptions >= MAX_SUBSCRIPTIONS:
            await ask.answer.error(rpc_error(jsonrpc.INTERNAL_ERROR, "too many subscriptions; try again later"))
            return
        kinds = {name: kind for name, kind in _FILTERS.items() if bytes(asked.get(name, b"")) == b"true"}
        meta = {_SUBSCRIPTION_ID: Raw(ident)}
        listener = Listener(kinds.values())
        # Before the acknowledgement: what changes after it must be told.
        self._changes.add(listener)
        self._subscriptions += 1
        watch = self._tasks.create_task(watch_client(receive, listener.close))
        resources = self._watches.watch(_texts(asked.get("resourceSubscriptions")), listener.post)
        try:
            notifications: dict[str, object] = dict.fromkeys(kinds, True)
            if accepted := await resources.begin():
                notifications["resourceSubscriptions"] = accepted
            acknowledged = {"_meta": meta, "notifications": notifications}
            first = _notification("notifications/subscriptions/acknowledged", acknowledged)
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            while not listener.closed:
                changes = await listener.next(KEEP_ALIVE_S)
                told = [_notification(changed.value, {"_meta": meta}) for changed in changes]
                told += [_notification(UPDATED, {"_meta": meta, "uri": Raw(uri)}) for uri in listener.messages()]
                chunk = b"".join(told)
                await send({"type": "http.response.body", "body": chunk or KEEP_ALIVE, "more_body": True})
            result = msgspec.json.encode({"resultType": "complete", "_meta": meta})
            last = sse(jsonrpc.encode_result(ident, result))
            await send({"type": "http.response.body", "body": last})
        finally:
            resources.end()
            self._changes.remove(listener)
            self._subscriptions -= 1
            watch.cancel()


def _envelope_error(
    method: str, fields: Mapping[str, Raw], meta: _Meta, headers: Mapping[bytes, bytes]
) -> JsonRpcError | None:
    """What is wrong with headers and `_meta` of a request; None when they fit together."""
    version = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
    if not version:
        return rpc_error(jsonrpc.HEADER_MISMATCH, "the header MCP-Protocol-Version is missing")
    if version not in VERSIONS:
        return rpc_error(
            jsonrpc.UNSUPPORTED_VERSION,
            f"unsupported protocol version {version!r}",
            {"supported": VERSIONS, "requested": version},
        )
    if not meta.version or not bytes(meta.capabilities).startswith(b"{"):
        return rpc_error(
            jsonrpc.INVALID_PARAMS,
            f"params._meta must have {_PREFIX}protocolVersion and {_PREFIX}clientCapabilities",
        )
    if meta.version != version:
        return rpc_error(
            jsonrpc.HEADER_MISMATCH, f"MCP-Protocol-Version is {version!r} and params._meta says {meta.version!r}"
        )
    if headers.get(b"mcp-method", b"").decode("latin-1") != method:
        return rpc_error(jsonrpc.HEADER_MISMATCH, f"the header Mcp-Method must be {method!r}")
    member = _NAMED_BY.get(method)
    if member is not None:
        named = headers.get(b"mcp-name")
        value = fields.get(member)
        if named is None or value is None or header_text(named) != _text(value):
            return rpc_error(jsonrpc.HEADER_MISMATCH, f"the header Mcp-Name must equal params.{member}")
    return None


def _text(raw: Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        # No string: nothing that a header could equal.
        return "\0"


def _texts(raw: Raw | None) -> list[str]:
    try:
        return [] if raw is None else msgspec.json.decode(raw, type=list[str])
    except msgspec.MsgspecError:
        return []


def _notification(method: str, params: object) -> bytes:
    return sse(jsonrpc.encode_notification(method, msgspec.json.encode(params)))


def _joined(encoded: bytes, more: Mapping[str, object]) -> bytes:
    return encoded[:-1] + b"," + msgspec.json.encode(more)[1:]
