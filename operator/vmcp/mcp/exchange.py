"""One request under way and what may come before its response."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vmcp.api.category import ErrorCategory
from vmcp.mcp import answers, jsonrpc
from vmcp.mcp.errors import BackendError
from vmcp.mcp.jsonrpc import JsonRpcError, Message
from vmcp.mcp.sse import Event, EventParser, EventTooLong
from vmcp.mcp.transport import Response, TransportError

Send = Callable[[bytes], Awaitable[None]]
"""Posts a message of ours that gets no answer (a response, a notification). Raises BackendError."""
Resume = Callable[[str, float], Awaitable[Response]]
"""Asks for the rest of a stream after the event of this id, by a loop time. Raises BackendError."""

MOST_RESUMPTIONS: Final = 100
"""A server may close a stream and be polled for the rest, but not for ever."""
_RESUME_AFTER_S: Final = 0.5
_LONGEST_SILENCE_S: Final = 86_400.0
_LATE: Final = "The server's answer was not complete in time."


class Era(StrEnum):
    """The two protocol families of MCP."""

    LEGACY = "legacy"
    """2024-11-05 to 2025-11-25: `initialize`, sessions."""
    MODERN = "modern"
    """2026-07-28: stateless, `_meta` with every request."""


class Deadline:
    """A loop time that may be moved while it is waited for."""

    __slots__ = ("_timeout", "at")

    def __init__(self, at: float) -> None:
        self.at = at
        self._timeout: asyncio.Timeout | None = None

    def timeout(self) -> asyncio.Timeout:
        """A context that ends with TimeoutError at the deadline, wherever it has been moved by then."""
        self._timeout = asyncio.timeout_at(self.at)
        return self._timeout

    def passed(self) -> None:
        """The wait is over."""
        self._timeout = None

    def move(self, at: float) -> None:
        """Set another time, for the wait under way too unless its time is over already."""
        self.at = at
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(at)


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a request: exactly one of `result` (raw JSON) and `error`. `raw` is the message as it came."""

    result: bytes | None
    error: JsonRpcError | None
    raw: bytes


class Exchange(ABC):
    """One request under way. Iterate for the messages before the response, then (or at once) await `response`.

    Attributes:
        era: in which it was asked; the backend may have been found to speak another one since, or none.
        streaming: messages may come before the response; False = just await `response`.
        request_id: id of the request on the wire, as JSON.
    """

    era: Era
    streaming: bool
    request_id: bytes

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Message]:
        """Notifications and requests of the server, in order, up to the response. `ping` is answered by us.

        Raises BackendError.
        """

    @abstractmethod
    async def response(self) -> Reply:
        """The response; messages not iterated are dropped, requests among them refused. Raises BackendError."""

    @abstractmethod
    async def answer(self, ident: bytes, *, result: bytes | None = None, error: JsonRpcError | None = None) -> None:
        """Answer a request of the server; `ident` is its `Message.id`. Raises BackendError."""

    @abstractmethod
    def wait_until(self, when: float) -> None:
        """Move the time by which the response must be complete, in loop time: a person may have to answer first."""

    @abstractmethod
    async def cancel(self, *, reason: str = "") -> None:
        """Give the call up and tell the server, best effort, within a second."""

    @abstractmethod
    def close(self) -> None:
        """Give the call up at once, without a word. Does nothing after the response."""


class HttpExchange(Exchange):
    """A request whose answer is the body of its own POST."""

    def __init__(
        self,
        response: Response,
        ident: bytes,
        deadline: float,
        *,
        send: Send,
        cancel_by_message: bool,
        most_bytes: int | None = None,
        reply: Reply | None = None,
        resume: Resume | None = None,
    ) -> None:
        self.request_id = ident
        self.streaming = is_stream(response)
        self._response = response
        self._deadline = Deadline(deadline)
        self._resume = resume
        self._send = send
        self._cancel_by_message = cancel_by_message
        self._most_bytes = most_bytes
        self._reply = reply
        self._messages: AsyncIterator[Message] | None = None

    def __aiter__(self) -> AsyncIterator[Message]:
        if self._messages is None:
            self._messages = self._until_response()
        return self._messages

    async def response(self) -> Reply:
        """The body read as one message, or the stream read to the response. Where there is none, it is closed."""
        try:
            if self._reply is None and not self.streaming:
                limit = self._most_bytes or answers.MOST_ANSWER_BYTES
                message = await answers.read_message(self._response, self._deadline.at, limit=limit)
                self._reply = matched(message, self.request_id)
            elif self._reply is None:
                async for message in self:
                    if message.is_request:
                        await self.answer(message.id or b"null", error=UNSERVED)
        except BaseException:
            self.close()
            raise
        if self._reply is None:
            raise BackendError(ErrorCategory.PROTOCOL, "The exchange was given up before its response.")
        return self._reply

    async def answer(self, ident: bytes, *, result: bytes | None = None, error: JsonRpcError | None = None) -> None:
        """Answer a request of the server by a POST of its own."""
        await self._send(jsonrpc.encode_error(ident, error) if error else jsonrpc.encode_result(ident, result or b"{}"))

    def wait_until(self, when: float) -> None:
        """Move the deadline."""
        self._deadline.move(when)

    async def cancel(self, *, reason: str = "") -> None:
        """Legacy: say so in a message. Modern: the closed stream says it."""
        if self._reply is not None:
            return
        if self._cancel_by_message:
            with suppress(BackendError):  # the dropped connection says the same
                await self._send(cancelled(self.request_id, reason))
        self.close()

    def close(self) -> None:
        """Drop the connection, unless the response has come."""
        if self._reply is None:
            self._response.close()

    async def _until_response(self) -> AsyncIterator[Message]:
        if not self.streaming:
            await self.response()
        if self._reply is not None:
            return
        last_id: str | None = None
        for _ in range(MOST_RESUMPTIONS):
            parser = EventParser(limit=answers.MOST_ANSWER_BYTES)
            async with aclosing(
                stream_messages(self._response, deadline=self._deadline, most_bytes=self._most_bytes, parser=parser)
            ) as messages:
                async for message in messages:
                    if message.is_response:
                        self._reply = matched(message, self.request_id)
                        self._response.release()
                        return
                    if message.method == "ping" and message.is_request:
                        with suppress(BackendError):  # the call does not depend on it
                            await self.answer(message.id or b"null", result=b"{}")
                    else:
                        yield message
            # Of a stream that had nothing new, that of the one before.
            last_id = parser.last_id or last_id
            if not last_id or self._resume is None:
                break
            # The server closed the stream and keeps the rest for whoever asks with the last id (mcp-wire §1.5).
            await self._pause(_RESUME_AFTER_S if parser.retry_s is None else min(parser.retry_s, 30.0))
            self._response = await self._resume(last_id, self._deadline.at)
        raise BackendError(ErrorCategory.PROTOCOL, "The server's stream ended without a response.", http_status=200)

    async def _pause(self, seconds: float) -> None:
        try:
            async with self._deadline.timeout():
                await asyncio.sleep(seconds)
        except TimeoutError:
            raise _broken(self._response, ErrorCategory.TIMEOUT, _LATE) from None
        finally:
            self._deadline.passed()


UNSERVED = JsonRpcError(jsonrpc.METHOD_NOT_FOUND, "This client serves no requests.")


def is_stream(response: Response) -> bool:
    """Whether the body is an event stream."""
    return response.status == 200 and response.headers.get("content-type", "").lower().startswith("text/event-stream")


def matched(message: Message, ident: bytes) -> Reply:
    """The message as the reply to request `ident`. An error may come without an id, since HTTP says whose it is.

    Raises:
        BackendError: protocol, it answers another request.
    """
    nobodys = message.error is not None and message.id in (None, b'"server-error"')
    if message.id != ident and not nobodys:
        raise answers.unmatched()
    if message.error is not None:
        return Reply(None, message.error, message.raw)
    return Reply(message.result or b"null", None, message.raw)


def cancelled(ident: bytes, reason: str) -> bytes:
    """The notification that gives a Legacy request up."""
    params = b'{"requestId":' + ident
    if reason:
        params += b',"reason":' + jsonrpc.encode_text(reason)
    return jsonrpc.encode_notification("notifications/cancelled", params + b"}")


async def stream_messages(
    response: Response,
    *,
    deadline: Deadline | None,
    idle_seconds: float = _LONGEST_SILENCE_S,
    most_bytes: int | None = None,
    parser: EventParser | None = None,
) -> AsyncGenerator[Message, None]:
    """The messages of an event stream until it ends: `stream_events` with each event read as a message."""
    async with aclosing(
        stream_events(response, deadline=deadline, idle_seconds=idle_seconds, most_bytes=most_bytes, parser=parser)
    ) as events:
        async for event in events:
            try:
                message = jsonrpc.decode(event.data)
            except ValueError:
                raise _broken(
                    response, ErrorCategory.PROTOCOL, "The server's stream holds something that is no JSON-RPC."
                ) from None
            yield message


async def stream_events(
    response: Response,
    *,
    deadline: Deadline | None,
    idle_seconds: float = _LONGEST_SILENCE_S,
    most_bytes: int | None = None,
    parser: EventParser | None = None,
) -> AsyncGenerator[Event, None]:
    """The events of a stream until it ends.

    Args:
        deadline: by when all of it must have come; None = whenever.
        idle_seconds: the longest silence.
        most_bytes: the longest stream; None = endless.
        parser: a fresh one, for whoever wants to know the last id.

    Raises:
        BackendError: timeout, connect, or protocol when an event has no end.
    """
    parser = parser or EventParser(limit=answers.MOST_ANSWER_BYTES)
    received = 0
    async with aclosing(response.chunks(idle_timeout=idle_seconds)) as chunks:
        while True:
            try:
                # silence is measured anew after every chunk; a stream that trickles must end in time all the same
                if deadline is None:
                    chunk = await anext(chunks)
                else:
                    async with deadline.timeout():
                        chunk = await anext(chunks)
                events = parser.feed(chunk)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise _broken(response, ErrorCategory.TIMEOUT, _LATE) from None
            except TransportError as error:
                raise _broken(response, error.category, str(error)) from None
            except EventTooLong:
                raise _broken(response, ErrorCategory.PROTOCOL, "The server sent an event without an end.") from None
            finally:
                if deadline is not None:
                    deadline.passed()
            received += len(chunk)
            if most_bytes is not None and received > most_bytes:
                raise _broken(
                    response, ErrorCategory.PROTOCOL, f"The server's answer is longer than {most_bytes} bytes."
                )
            for event in events:
                yield event


def _broken(response: Response, category: ErrorCategory, message: str) -> BackendError:
    response.close()
    return BackendError(category, message, http_status=response.status)
