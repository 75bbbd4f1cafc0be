"""Legacy over Streamable HTTP: `initialize`, then a session if the server issues one (mcp-wire §1)."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
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
from vmcp.mcp.exchange import Era, Exchange, HttpExchange, Reply, is_stream, matched, stream_messages
from vmcp.mcp.jsonrpc import JsonRpcError, Message
from vmcp.mcp.transport import Response

REVISIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first; the first is offered."""
_encode: Final = msgspec.json.Encoder().encode
_WITH_VERSION_HEADER: Final = frozenset({"2025-11-25", "2025-06-18"})


class InitializeResult(msgspec.Struct, rename="camel"):
    """The answer to `initialize`, as far as it is needed."""

    protocol_version: str
    capabilities: JsonObject = {}
    server_info: JsonObject = {}


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session with a server, as far as another process must know it to go on with it. `ident` is a secret."""

    ident: str
    revision: str
    capabilities: JsonObject
    server_info: JsonObject


class LegacyHttp(HttpDialect):
    """A backend after `initialize`."""

    era = Era.LEGACY
    cancels_by_message = True

    def __init__(self, endpoint: Endpoint, opened: InitializeResult, session: str) -> None:
        super().__init__(endpoint)
        self.revision = opened.protocol_version
        self.capabilities = opened.capabilities
        self.server_info = opened.server_info
        self.keeps_session = bool(session)
        self._session = session
        kept: Headers = (("mcp-session-id", session),) if session else ()
        if self.revision in _WITH_VERSION_HEADER:
            kept += (("mcp-protocol-version", self.revision),)
        self._kept = kept
        self._headers = endpoint.post_headers(*kept)

    @classmethod
    def adopt(cls, endpoint: Endpoint, kept: KeptSession) -> "LegacyHttp":
        """Go on with a session that another process opened."""
        adopted = cls(endpoint, InitializeResult(kept.revision, kept.capabilities, kept.server_info), kept.ident)
        # Both may have requests under way on it: their ids must differ.
        adopted._ids = itertools.count(secrets.randbelow(2**40) + 2**20)
        return adopted

    def kept(self) -> KeptSession | None:
        """What another process needs to go on with the session; None where the server keeps none."""
        if not self._session:
            return None
        return KeptSession(self._session, self.revision, self.capabilities, self.server_info)

    async def ping(self, deadline: float) -> None:
        """`ping`, on the session if there is one."""
        ident = b"%d" % next(self._ids)
        body = b'{"jsonrpc":"2.0","id":' + ident + b',"method":"ping"}'
        exchange = await self._exchange(
            "ping", self._headers, ident, body, deadline, most_bytes=answers.MOST_LIFE_SIGN_BYTES
        )
        await exchange.response()

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
        """POST the request on the session."""
        ident = b"%d" % next(self._ids)
        body = jsonrpc.encode_request(ident, method, params)
        return await self._exchange(method, self._headers, ident, body, deadline, once=plain(headers))

    def begin(
        self, method: str, fields: Mapping[str, Raw], *, name: str, headers: Headers, client_capabilities: bytes
    ) -> Begun | None:
        """POST the request on the session, on an idle connection."""
        ident = b"%d" % next(self._ids)
        body = jsonrpc.encode_request(ident, method, _encode(fields))
        pending = self._endpoint.begin(self._headers, body, once=plain(headers) if headers else ())
        return None if pending is None else Begun(self, pending, ident)

    async def notify(self, message: bytes, deadline: float) -> None:
        """POST the message on the session."""
        response = await self._endpoint.send("POST", self._headers, message, deadline)
        response.release()
        failure = answers.rejected(response)
        if failure is not None:
            raise failure

    async def messages(self, uris: Sequence[str], opened: Callable[[], None]) -> AsyncGenerator[Message, None]:
        """What comes on the GET stream."""
        deadline = asyncio.get_running_loop().time() + LISTEN_OPEN_SECONDS
        headers = self._endpoint.stream_headers(*self._kept)
        response = await self._endpoint.send("GET", headers, b"", deadline, idempotent=True)
        if response.status == 404 and self.keeps_session:
            response.release()
            raise gone(404)
        if response.status == 400 and self.keeps_session:
            message = await answers.read_message(response, deadline, limit=answers.MOST_LIFE_SIGN_BYTES)
            if speaks_of_session(message.error):
                raise gone(400)
        self._change_stream(response)
        opened()
        try:
            messages = stream_messages(response, deadline=None, idle_seconds=LISTEN_IDLE_SECONDS)
            async with aclosing(messages):
                async for message in messages:
                    yield message
        finally:
            response.close()

    async def _rest(self, last_id: str, deadline: float) -> Response:
        headers = self._endpoint.stream_headers(*self._kept, ("last-event-id", last_id))
        response = await self._endpoint.send("GET", headers, b"", deadline, idempotent=True)
        if not is_stream(response):
            response.release()
            return await super()._rest(last_id, deadline)
        return response

    async def end(self, deadline: float) -> None:
        """DELETE the session if there is one."""
        if self.keeps_session:
            response = await self._endpoint.send("DELETE", self._headers, b"", deadline)
            response.release()

    def _gone(self, status: int, error: JsonRpcError | None) -> bool:
        if error is not None and error.code in jsonrpc.MODERN_ERRORS:
            return True
        if status == 404 or error is None:
            return self.keeps_session
        return speaks_of_session(error)


async def initialize(endpoint: Endpoint, identity: Identity, deadline: float) -> LegacyHttp:
    """Open a session. After a JSON-RPC error `initialize` is sent once more, then it is `protocol` (design §3 rule 5).

    Raises:
        BackendError: no session.
    """
    reply, session = await _offer(endpoint, identity, deadline)
    if reply.error is not None:
        reply, session = await _offer(endpoint, identity, deadline)
    opened = agreed(reply)
    if session and not all("!" <= character <= "~" for character in session):
        raise BackendError(ErrorCategory.PROTOCOL, "The server issued a session id with illegal characters.")
    legacy = LegacyHttp(endpoint, opened, session)
    await legacy.notify(jsonrpc.encode_notification("notifications/initialized"), deadline)
    return legacy


async def _offer(endpoint: Endpoint, identity: Identity, deadline: float) -> tuple[Reply, str]:
    body = jsonrpc.encode_request(b"0", "initialize", initialize_params(identity))
    response = await endpoint.send("POST", endpoint.post_headers(), body, deadline, idempotent=True)
    failure = answers.refused(response)
    if failure is not None:
        response.release()
        raise failure
    most_bytes = answers.MOST_LIFE_SIGN_BYTES
    if is_stream(response):
        exchange = HttpExchange(response, b"0", deadline, send=_nowhere, cancel_by_message=False, most_bytes=most_bytes)
        reply = await exchange.response()
    else:
        message = await answers.read_message(response, deadline, limit=most_bytes)
        reply = matched(message, b"0")
    # servers put throw-away ids on errors: only a result under 200 opens a session
    issued = reply.error is None and response.status == 200
    return reply, response.headers.get("mcp-session-id", "") if issued else ""


def initialize_params(identity: Identity) -> bytes:
    """What we offer."""
    return msgspec.json.encode(
        {
            "protocolVersion": REVISIONS[0],
            "capabilities": Raw(identity.capabilities),
            "clientInfo": {"name": identity.name, "version": identity.version},
        }
    )


def agreed(reply: Reply) -> InitializeResult:
    """The server's answer to `initialize`.

    Raises:
        BackendError: protocol, it refuses, or answers with a revision that we do not speak.
    """
    if reply.error is not None:
        raise BackendError(
            ErrorCategory.PROTOCOL,
            f"The server refuses to initialize a session (JSON-RPC error {reply.error.code}); its log says why.",
        )
    try:
        opened = msgspec.json.decode(reply.result or b"null", type=InitializeResult)
    except ValueError:
        raise BackendError(
            ErrorCategory.PROTOCOL, "The server's answer to initialize is not MCP; is the URL that of an MCP server?"
        ) from None
    if opened.protocol_version not in REVISIONS:
        raise BackendError(
            ErrorCategory.PROTOCOL, "The server speaks no MCP revision that we speak; upgrade one of the two."
        )
    return opened


async def _nowhere(_: bytes) -> None:
    """Before `initialize` is answered there is no session to post to."""
