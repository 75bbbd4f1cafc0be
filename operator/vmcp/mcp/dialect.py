"""A dialect: one era over one transport, with the session where there is one. What all of them can do."""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, Final

from msgspec import Raw

from vmcp.api.category import ErrorCategory
from vmcp.mcp import answers, jsonrpc
from vmcp.mcp.endpoint import IDEMPOTENT, Endpoint, Headers
from vmcp.mcp.errors import BackendError, SessionGoneError
from vmcp.mcp.exchange import Era, Exchange, HttpExchange, Reply, is_stream, matched
from vmcp.mcp.jsonrpc import JsonRpcError, Message
from vmcp.mcp.sse import EventParser, EventTooLong
from vmcp.mcp.transport import Pending, Response, TransportError

JsonObject = dict[str, Any]

ASIDE_SECONDS: Final = 1.0
"""For what we post beside a call: answers to the server's requests, cancellations."""
LISTEN_OPEN_SECONDS: Final = 10.0
LISTEN_IDLE_SECONDS: Final = 600.0
"""A change stream silent for longer is ended; whoever listens opens it anew."""


class ListChanged(StrEnum):
    """Which of a backend's lists changed."""

    TOOLS = "tools"
    PROMPTS = "prompts"
    RESOURCES = "resources"


CHANGES: Final = {f"notifications/{kind}/list_changed": kind for kind in ListChanged}


_MOST_PLAIN_BYTES: Final = 128 * 1024
"""A longer answer is read by whoever can slow its sender down."""
_OF_SESSIONS: Final = frozenset({jsonrpc.INVALID_REQUEST, jsonrpc.SERVER_ERROR})


class Dialect(ABC):
    """How one backend is spoken to, from the moment that is known.

    Attributes:
        keeps_session: the server keeps something for us that a re-detection would throw away.
        alive: False = no further request is possible.
    """

    era: Era
    revision: str
    capabilities: JsonObject
    server_info: JsonObject
    keeps_session: bool = False
    alive: bool = True

    @abstractmethod
    async def ping(self, deadline: float) -> None:
        """The cheapest correct POST. Raises BackendError; SessionGoneError = detect the era anew."""

    @abstractmethod
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
        """As `Backend.request`. Raises BackendError; SessionGoneError = not processed, detect the era anew."""

    def begin(
        self, method: str, fields: Mapping[str, Raw], *, name: str, headers: Headers, client_capabilities: bytes
    ) -> "Begun | None":
        """As `Backend.begin`."""
        return None

    @abstractmethod
    async def notify(self, message: bytes, deadline: float) -> None:
        """Post a message that gets no answer: a notification, or a response of ours. Raises BackendError."""

    @abstractmethod
    def messages(self, uris: Sequence[str], opened: Callable[[], None]) -> AsyncGenerator[Message, None]:
        """As `Backend.messages`."""

    @abstractmethod
    async def end(self, deadline: float) -> None:
        """Tell the server that we are leaving, where it keeps something for us. Raises BackendError."""

    def drop(self) -> None:
        """Let go of everything at once."""
        self.alive = False


class HttpDialect(Dialect):
    """A dialect of Streamable HTTP: the answer to a request is the body of its own POST."""

    cancels_by_message: bool

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ids = itertools.count(1)

    async def _post(self, message: bytes) -> None:
        await self.notify(message, _now() + ASIDE_SECONDS)

    @abstractmethod
    def _gone(self, status: int, error: JsonRpcError | None) -> bool:
        """Whether an answer shows that session or era have ended, so that the request was not processed."""

    async def _exchange(
        self,
        method: str,
        headers: Headers,
        ident: bytes,
        body: bytes,
        deadline: float,
        *,
        once: Headers = (),
        most_bytes: int | None = None,
    ) -> HttpExchange:
        response = await self._endpoint.send(
            "POST", headers, body, deadline, once=once, idempotent=method in IDEMPOTENT
        )
        return await self.judged(response, ident, deadline, most_bytes)

    async def judged(
        self, response: Response, ident: bytes, deadline: float, most_bytes: int | None = None
    ) -> HttpExchange:
        """The exchange whose answer has begun to arrive. Raises BackendError, SessionGoneError."""
        if response.status == 200:
            return self._under_way(response, ident, deadline, most_bytes)
        failure = answers.refused(response)
        if failure is not None:
            failure.spoke = await answers.speaks(response, min(deadline, _now() + ASIDE_SECONDS))
            response.release()
            raise failure
        try:
            message = await answers.read_message(response, deadline, limit=answers.MOST_LIFE_SIGN_BYTES)
        except BackendError as error:
            if error.category is ErrorCategory.HTTP_4XX and self._gone(response.status, None):
                raise gone(response.status) from None
            raise
        if self._gone(response.status, message.error):
            raise gone(response.status)
        return self._under_way(response, ident, deadline, most_bytes, matched(message, ident))

    def _under_way(
        self, response: Response, ident: bytes, deadline: float, most_bytes: int | None, reply: Reply | None = None
    ) -> HttpExchange:
        return HttpExchange(
            response,
            ident,
            deadline,
            send=self._post,
            cancel_by_message=self.cancels_by_message,
            most_bytes=most_bytes,
            reply=reply,
            resume=self._rest,
        )

    async def _rest(self, last_id: str, deadline: float) -> Response:
        """The stream that goes on after an event. Raises BackendError: protocol, the server does not keep it."""
        raise BackendError(ErrorCategory.PROTOCOL, "The server's stream ended without a response.", http_status=200)

    def _change_stream(self, response: Response) -> Response:
        """The response if it is an event stream. Raises BackendError: http_4xx where the server offers none."""
        if is_stream(response):
            return response
        response.release()
        if response.status in (200, 400, 404):
            raise BackendError(
                ErrorCategory.HTTP_4XX, "The server offers no stream of changes.", http_status=response.status
            )
        raise answers.refused(response) or gone(response.status)


class Unsettled(Enum):
    """What is known of an answer that is no plain result."""

    WAIT = 0
    """It may become one."""
    OTHER = 1
    """It is something else: an error, a notification before the response, a long body."""


class Begun:
    """A request that has been sent, and whose answer may be here any moment.

    Attributes:
        dialect: whose request it is.
        pending: the answer.
    """

    __slots__ = ("_ident", "dialect", "pending")

    def __init__(self, dialect: HttpDialect, pending: Pending, ident: bytes) -> None:
        self.dialect = dialect
        self.pending = pending
        self._ident = ident

    def result(self) -> bytes | Unsettled:
        """The result, once the answer is the plain one: a response with a result, and nothing before it."""
        pending = self.pending
        if not pending.head_complete:
            return Unsettled.OTHER if pending.ended else Unsettled.WAIT
        headers = pending.headers
        kind = headers.get("content-type", "").partition(";")[0].lower()
        body = pending.so_far()
        if pending.status != 200 or body is None or len(body) > _MOST_PLAIN_BYTES or "content-encoding" in headers:
            return Unsettled.OTHER
        if kind == "text/event-stream":
            return self._in_stream(body)
        if kind != "application/json":
            return Unsettled.OTHER
        if not pending.ended:
            length = headers.get("content-length", "0")
            # Reading pauses where nobody takes what has come.
            short = length.isdigit() and len(length) < 7 and int(length) <= _MOST_PLAIN_BYTES
            return Unsettled.WAIT if short else Unsettled.OTHER
        return self._in_message(body)

    async def exchange(self, deadline: float) -> HttpExchange:
        """The request goes on as any other. `deadline` in loop time. Raises BackendError, SessionGoneError."""
        self.pending.listener = None
        try:
            await self.pending.head(deadline)
        except TransportError as error:
            raise BackendError(error.category, str(error), sent=error.sent) from None
        return await self.dialect.judged(self.pending, self._ident, deadline)

    def _in_stream(self, body: bytes) -> bytes | Unsettled:
        try:
            events = EventParser(limit=_MOST_PLAIN_BYTES).feed(body)
        except EventTooLong:
            return Unsettled.OTHER
        if not events:
            return Unsettled.OTHER if self.pending.ended else Unsettled.WAIT
        result = self._in_message(events[0].data)
        if not isinstance(result, Unsettled):
            # Nothing that may follow a response matters.
            self.pending.release()
        return result

    def _in_message(self, body: bytes) -> bytes | Unsettled:
        result = jsonrpc.result_for(self._ident, body)
        return Unsettled.OTHER if result is None else result


def gone(status: int) -> SessionGoneError:
    """The error that makes the backend detect its era anew."""
    return SessionGoneError(
        ErrorCategory.HTTP_4XX,
        f"The server does not know a session that it opened (HTTP {status}); do its replicas share sessions?",
        http_status=status,
        sent=False,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()


def speaks_of_session(error: JsonRpcError | None) -> bool:
    """Whether an error is about session or version: the codes that servers send for these mean other things too."""
    if error is None:
        return False
    text = error.message.lower()
    return error.code in _OF_SESSIONS and any(word in text for word in ("session", "initializ", "protocol version"))
