"""The HTTP+SSE transport of 2024-11-05: a kept GET stream is the session, messages are posted (mcp-wire §1.8)."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final
from urllib.parse import urljoin

from vmcp.api.category import ErrorCategory
from vmcp.mcp import answers, jsonrpc
from vmcp.mcp.dialect import ASIDE_SECONDS, CHANGES, LISTEN_IDLE_SECONDS, Dialect
from vmcp.mcp.endpoint import IDEMPOTENT, Endpoint, Headers, Identity, plain
from vmcp.mcp.errors import BackendError, SessionGoneError
from vmcp.mcp.exchange import UNSERVED, Deadline, Era, Exchange, Reply, cancelled, is_stream, matched, stream_events
from vmcp.mcp.jsonrpc import JsonRpcError, Message
from vmcp.mcp.legacy import InitializeResult, agreed, initialize_params
from vmcp.mcp.origin import parse_url
from vmcp.mcp.progress import PROGRESS, token_of, told_under, with_token
from vmcp.mcp.sse import Event
from vmcp.mcp.transport import Response

_MOST_WAITING: Final = 1000
"""Messages kept for a reader that is behind; what comes beyond is dropped."""
_OF_NO_CALL: Final = frozenset((*CHANGES, "notifications/resources/updated"))


class SseSession(Dialect):
    """One kept stream. It owns the task that reads it: begun by `open_session`, ended by `drop` or with the stream."""

    era = Era.LEGACY
    keeps_session = True

    def __init__(self, endpoint: Endpoint, stream: Response) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._headers = endpoint.post_headers()
        self._post_url = ""
        self._ids = itertools.count(1)
        self._under_way: dict[bytes, SseExchange] = {}
        self._listeners: set[asyncio.Queue[Message | None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self.revision = ""
        self.capabilities = {}
        self.server_info = {}

    async def start(self, identity: Identity, deadline: float) -> None:
        """Read the endpoint event, then initialize. Raises BackendError."""
        events = stream_events(self._stream, deadline=None, idle_seconds=LISTEN_IDLE_SECONDS)
        try:
            async with asyncio.timeout_at(deadline):
                first = await anext(events, None)
        except TimeoutError:
            raise _no_endpoint(ErrorCategory.TIMEOUT) from None
        if first is None or first.type != "endpoint":
            raise _no_endpoint(ErrorCategory.PROTOCOL)
        self._post_url = self._same_origin(first.data.decode("utf-8", "replace"))
        self._reader = asyncio.create_task(self._read(events))
        opened = await self._initialize(identity, deadline)
        self.revision = opened.protocol_version
        self.capabilities = opened.capabilities
        self.server_info = opened.server_info
        await self.notify(jsonrpc.encode_notification("notifications/initialized"), deadline)

    async def ping(self, deadline: float) -> None:
        """`ping`, posted; the answer comes on the stream."""
        exchange = await self._ask("ping", b"", (), deadline)
        try:
            await exchange.response()
        finally:
            exchange.close()

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
        """POST the request; what comes of it comes on the stream."""
        return await self._ask(method, params, plain(headers), deadline)

    async def notify(self, message: bytes, deadline: float) -> None:
        """POST the message."""
        await self._post(message, (), deadline, idempotent=False)

    async def messages(self, uris: Sequence[str], opened: Callable[[], None]) -> AsyncGenerator[Message, None]:
        """What comes on the kept stream and belongs to no call."""
        queue: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
        self._listeners.add(queue)
        opened()
        try:
            while self.alive and (message := await queue.get()) is not None:
                yield message
        finally:
            self._listeners.discard(queue)

    async def end(self, deadline: float) -> None:
        """Nothing to say: the closed stream says it."""

    def drop(self) -> None:
        """Close the stream; whoever waits for something on it hears of that."""
        super().drop()
        self._stream.close()
        if self._reader is not None:
            self._reader.cancel()
        self._give_up(BackendError(ErrorCategory.CONNECT, "The stream to the server was closed."))

    # called by the exchanges

    async def answer(self, message: bytes) -> None:
        """Post a message of ours. Raises BackendError."""
        await self.notify(message, asyncio.get_running_loop().time() + ASIDE_SECONDS)

    def forget(self, ident: bytes) -> None:
        """Nobody waits for this response any more."""
        self._under_way.pop(ident, None)

    # private

    async def _initialize(self, identity: Identity, deadline: float) -> InitializeResult:
        params = initialize_params(identity)
        reply = await (await self._ask("initialize", params, (), deadline)).response()
        if reply.error is not None:
            reply = await (await self._ask("initialize", params, (), deadline)).response()
        return agreed(reply)

    async def _ask(self, method: str, params: bytes, headers: Headers, deadline: float) -> "SseExchange":
        ident = b"%d" % next(self._ids)
        exchange = self._under_way[ident] = SseExchange(self, ident, deadline)
        # Clients choose their tokens each for itself; on the one stream they must differ.
        params, exchange.token = with_token(params, ident)
        try:
            body = jsonrpc.encode_request(ident, method, params)
            await self._post(body, headers, deadline, idempotent=method in IDEMPOTENT)
        except BaseException:
            self.forget(ident)
            raise
        return exchange

    async def _post(self, message: bytes, headers: Headers, deadline: float, *, idempotent: bool) -> None:
        response = await self._endpoint.send(
            "POST", self._headers + headers, message, deadline, idempotent=idempotent, url=self._post_url
        )
        response.release()
        failure = answers.rejected(response)
        if failure is not None and failure.http_status in (400, 404):
            raise SessionGoneError(failure.category, str(failure), http_status=failure.http_status, sent=False)
        if failure is not None:
            raise failure

    async def _read(self, events: AsyncGenerator[Event, None]) -> None:
        failure = BackendError(ErrorCategory.CONNECT, "The server closed its stream.")
        try:
            async with aclosing(events):
                async for event in events:
                    if event.type == "message":
                        await self._deliver(jsonrpc.decode(event.data))
        except BackendError as error:
            failure = error
        except ValueError:
            failure = BackendError(ErrorCategory.PROTOCOL, "The server's stream holds something that is no JSON-RPC.")
        finally:
            self.alive = False
            self._stream.close()
            self._give_up(failure)

    async def _deliver(self, message: Message) -> None:
        if message.is_response:
            exchange = self._under_way.pop(message.id or b"null", None)
            if exchange is None and len(self._under_way) == 1:
                # one question, one answer, another id: whoever waits must hear of it
                _, exchange = self._under_way.popitem()
            if exchange is not None:
                exchange.deliver(message)
        elif message.method == "ping":
            with suppress(BackendError):  # the calls under way do not depend on it
                await self.answer(jsonrpc.encode_result(message.id or b"null", b"{}"))
        elif (found := self._of_a_call(message)) is not None:
            call, told = found
            call.deliver(told)
        elif self._listeners:
            for queue in self._listeners:
                if not queue.full():
                    queue.put_nowait(message)
        elif message.is_request:
            with suppress(BackendError):
                await self.answer(jsonrpc.encode_error(message.id or b"null", UNSERVED))

    def _of_a_call(self, message: Message) -> "tuple[SseExchange, Message] | None":
        """The call that a message belongs to. The stream does not say: progress does, and one call under way is it."""
        if message.method == PROGRESS:
            call = self._under_way.get(token_of(message))
            if call is not None and call.token is not None:
                return call, jsonrpc.decode(told_under(message, call.token))
        if len(self._under_way) == 1 and message.method not in _OF_NO_CALL:
            return next(iter(self._under_way.values())), message
        return None

    def _give_up(self, failure: BackendError) -> None:
        waiting, self._under_way = self._under_way, {}
        for exchange in waiting.values():
            exchange.deliver(failure)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    def _same_origin(self, said: str) -> str:
        base = self._endpoint.address.url
        url = urljoin(base, said.strip())
        try:
            if parse_url(url)[0] == parse_url(base)[0]:
                return url
        except ValueError:
            pass
        raise BackendError(
            ErrorCategory.FORBIDDEN, "The server names a message URL on another origin, which is refused."
        )


class SseExchange(Exchange):
    """A request whose response comes on the kept stream."""

    streaming = True

    def __init__(self, session: SseSession, ident: bytes, deadline: float) -> None:
        self.request_id = ident
        self.token: bytes | None = None
        self._session = session
        self._deadline = Deadline(deadline)
        self._arrived: asyncio.Queue[Message | BackendError] = asyncio.Queue()  # bounded by `deliver`
        self._reply: Reply | None = None

    def deliver(self, what: Message | BackendError) -> None:
        """Something for this exchange came on the stream."""
        is_last = isinstance(what, BackendError) or what.is_response
        if is_last or self._arrived.qsize() < _MOST_WAITING:
            self._arrived.put_nowait(what)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while self._reply is None:
            try:
                async with self._deadline.timeout():
                    what = await self._arrived.get()
            except TimeoutError:
                self.close()
                raise BackendError(ErrorCategory.TIMEOUT, "The server did not answer in time.") from None
            finally:
                self._deadline.passed()
            if isinstance(what, BackendError):
                raise what
            if what.is_response:
                self._reply = matched(what, self.request_id)
            else:
                yield what

    async def response(self) -> Reply:
        """The response from the stream."""
        async for message in self:
            if message.is_request:
                await self.answer(message.id or b"null", error=UNSERVED)
        if self._reply is None:
            raise BackendError(ErrorCategory.PROTOCOL, "The exchange was given up before its response.")
        return self._reply

    async def answer(self, ident: bytes, *, result: bytes | None = None, error: JsonRpcError | None = None) -> None:
        """Answer a request of the server."""
        await self._session.answer(
            jsonrpc.encode_error(ident, error) if error else jsonrpc.encode_result(ident, result or b"{}")
        )

    def wait_until(self, when: float) -> None:
        """Move the deadline."""
        self._deadline.move(when)

    async def cancel(self, *, reason: str = "") -> None:
        """Stop waiting and tell the server."""
        if self._reply is None:
            self.close()
            with suppress(BackendError):  # its response will find nobody waiting
                await self._session.answer(cancelled(self.request_id, reason))

    def close(self) -> None:
        """Stop waiting."""
        self._session.forget(self.request_id)


async def open_session(endpoint: Endpoint, identity: Identity, deadline: float) -> SseSession:
    """Open the stream and initialize on it. Raises BackendError."""
    response = await endpoint.send("GET", endpoint.stream_headers(), b"", deadline, idempotent=True)
    if not is_stream(response):
        response.release()
        if response.status == 200:
            raise _no_endpoint(ErrorCategory.PROTOCOL)
        raise answers.rejected(response) or _no_endpoint(ErrorCategory.PROTOCOL)
    session = SseSession(endpoint, response)
    try:
        await session.start(identity, deadline)
    except BaseException:
        session.drop()
        raise
    return session


def _no_endpoint(category: ErrorCategory) -> BackendError:
    return BackendError(
        category, "The server's stream does not begin with an endpoint event; is it an HTTP+SSE server at this URL?"
    )
