"""The answer to one request of a client: plain JSON, or a stream from the first notification on."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from vmcp.gateway.replay import Channel, one_line
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import Era
from vmcp.mcp.jsonrpc import JsonRpcError

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE: Final = (b"content-type", b"application/json")
STREAM_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
KEEP_ALIVE: Final = b": keep-alive\n\n"

# Every other error of a Modern exchange, and every one of a Legacy exchange, goes out with HTTP 200.
_MODERN_STATUS: Final = {
    jsonrpc.PARSE_ERROR: 400,
    jsonrpc.INVALID_REQUEST: 400,
    jsonrpc.METHOD_NOT_FOUND: 404,
    jsonrpc.INVALID_PARAMS: 400,
    jsonrpc.HEADER_MISMATCH: 400,
    jsonrpc.CAPABILITY_MISSING: 400,
    jsonrpc.UNSUPPORTED_VERSION: 400,
}


def rpc_error(code: int, message: str, data: object = None) -> JsonRpcError:
    """An error to answer with; `data` is anything that JSON can carry, None = no data."""
    if data is None:
        return JsonRpcError(code, message)
    return JsonRpcError(code, message, Raw(msgspec.json.encode(data)))


def sse(message: bytes) -> bytes:
    """One JSON message as an event."""
    return b"event: message\ndata: " + one_line(message) + b"\n\n"


async def send_whole(send: Send, status: int, body: bytes = b"", headers: Headers | None = None) -> None:
    """A complete answer; JSON unless the headers say otherwise."""
    head = [(b"content-length", b"%d" % len(body))]
    if body and headers is None:
        head.append(JSON_TYPE)
    await send({"type": "http.response.start", "status": status, "headers": head + (headers or [])})
    await send({"type": "http.response.body", "body": body})


async def send_refusal(send: Send, status: int, code: int, message: str, headers: Headers | None = None) -> None:
    """A JSON-RPC error that belongs to no request id."""
    body = jsonrpc.encode_error(b"null", JsonRpcError(code, message))
    await send_whole(send, status, body, [JSON_TYPE, *(headers or [])])


class Answer(ABC):
    """Where the answer to one request goes.

    Attributes:
        ident: the request's id, as JSON.
        era: of the client.
        streams: something can be told before the response.
    """

    ident: bytes
    era: Era
    streams = False

    @property
    def resumable(self) -> bool:
        """A client that lost the connection may come back for the rest."""
        return False

    async def keep_alive(self) -> None:  # noqa: B027
        """Show the client, and proxies on the way, that the call goes on, where something can be told."""

    @abstractmethod
    async def event(self, message: bytes) -> None:
        """A notification that comes before the response."""

    @abstractmethod
    async def result(self, result: bytes) -> None:
        """The response; `result` is passed through as bytes."""

    @abstractmethod
    async def error(self, error: JsonRpcError) -> None:
        """The response: an error."""


class HttpAnswer(Answer):
    """The answer as the body of the POST that asked.

    Args:
        streams: the client takes an event stream; else what comes before the response is dropped.
        whole: the client takes plain JSON; else even a lone response is sent as a stream.
        channel: opens the channel of a stream that can be resumed.
        primed: such a stream begins with an event without data.
    """

    __slots__ = (
        "_channel", "_done", "_extra", "_open", "_open_channel", "_primed", "_send", "_whole", "era", "ident",
        "streams",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        ident: bytes,
        era: Era,
        *,
        streams: bool,
        whole: bool = True,
        extra: Headers | None = None,
        channel: Callable[[], Channel] | None = None,
        primed: bool = False,
    ) -> None:
        self.ident = ident
        self.era = era
        self._send = send
        self.streams = streams
        self._whole = whole
        self._extra = extra
        self._open = self._done = False
        self._open_channel = channel
        self._channel: Channel | None = None
        self._primed = primed

    @property
    def resumable(self) -> bool:
        """The stream is open and its events have ids."""
        return self._channel is not None

    async def keep_alive(self) -> None:
        """A comment; opens the stream where none is open."""
        if self.streams and not self._done:
            await self._stream(KEEP_ALIVE, more=True)

    async def event(self, message: bytes) -> None:
        """Sent at once as an event; dropped where the client takes no stream, and after the response."""
        if self.streams and not self._done:
            await self._tell(message, more=True)

    async def result(self, result: bytes) -> None:
        """The response, as plain JSON unless a stream is open."""
        await self._respond(200, jsonrpc.encode_result(self.ident, result))

    async def error(self, error: JsonRpcError) -> None:
        """The response: an error, under the HTTP status that the client's era has for its code."""
        if self.era is Era.MODERN and error.code == jsonrpc.RESOURCE_NOT_FOUND:
            error = JsonRpcError(jsonrpc.INVALID_PARAMS, error.message, error.data)
        elif self.era is Era.MODERN and error.code == jsonrpc.URL_ELICITATION_REQUIRED:
            error = JsonRpcError(jsonrpc.INTERNAL_ERROR, error.message, error.data)
        status = _MODERN_STATUS.get(error.code, 200) if self.era is Era.MODERN else 200
        await self._respond(status, jsonrpc.encode_error(self.ident, error))

    async def _respond(self, status: int, message: bytes) -> None:
        self._done = True
        if self._open or not self._whole:
            await self._tell(message, more=False)
            return
        headers = [(b"content-length", b"%d" % len(message)), JSON_TYPE]
        if self._extra:
            headers += self._extra
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": message})

    async def _tell(self, message: bytes, *, more: bool) -> None:
        self._begin_channel()
        chunk = sse(message) if self._channel is None else self._channel.add(message)
        if self._channel is not None and not more:
            self._channel.end()
        await self._stream(chunk, more=more)

    def _begin_channel(self) -> None:
        if not self._open and self._channel is None and self._open_channel is not None:
            self._channel = self._open_channel()

    async def _stream(self, chunk: bytes, *, more: bool) -> None:
        if not self._open:
            self._begin_channel()
            self._open = True
            headers = STREAM_HEADERS + (self._extra or [])
            if self._channel is not None and self._primed:
                chunk = self._channel.prime() + chunk
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})


class CollectedAnswer(Answer):
    """One response of a batch. Notifications are dropped: a batch is answered as a whole."""

    def __init__(self, ident: bytes, era: Era) -> None:
        self.ident = ident
        self.era = era
        self.message = b""

    async def event(self, message: bytes) -> None:
        """Dropped."""

    async def result(self, result: bytes) -> None:
        """Kept in `message`."""
        self.message = jsonrpc.encode_result(self.ident, result)

    async def error(self, error: JsonRpcError) -> None:
        """Kept in `message`."""
        self.message = jsonrpc.encode_error(self.ident, error)
