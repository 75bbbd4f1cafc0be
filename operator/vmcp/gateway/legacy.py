"""Legacy clients (2024-11-05 to 2025-11-25): sessions, the GET stream, DELETE, batches of 2025-03-26."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import (
    KEEP_ALIVE,
    STREAM_HEADERS,
    Answer,
    CollectedAnswer,
    HttpAnswer,
    Receive,
    Send,
    rpc_error,
    send_refusal,
    send_whole,
)
from vmcp.gateway.ask import Ask, fields_of
from vmcp.gateway.changes import Changed
from vmcp.gateway.flight import watch_client
from vmcp.gateway.passthrough import Passed
from vmcp.gateway.replay import Channel, Replay
from vmcp.gateway.sessions import ANONYMOUS, Session, Sessions, TooManySessions
from vmcp.mcp import jsonrpc
from vmcp.mcp.backend import Era
from vmcp.mcp.jsonrpc import Message

VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST: Final = "2025-11-25"
BATCH_VERSION: Final = "2025-03-26"
MAX_BATCH: Final = 50
KEEP_ALIVE_S: Final = 15.0
MISSING: Final = "Missing session ID: send initialize first"
NOT_FOUND: Final = "Session not found: send initialize again"

CAPABILITIES: Final = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "prompts": {"listChanged": True},
    "completions": {},
    "logging": {},
}
TASKS: Final[Mapping[str, object]] = {"cancel": {}, "requests": {"tools": {"call": {}}}}


Welcome = Callable[[str], Mapping[str, object]]
"""The result of `initialize` for a client that offers this revision."""


class Answering(Protocol):
    """Answers requests."""

    async def handle(self, ask: Ask) -> bool:
        """Answer the request; False when its method is none of its own and nothing was answered."""


class Beside(Protocol):
    """Takes what a client says besides calls."""

    def notified(self, session: Session, message: Message) -> bool | None:
        """A notification; False = nothing here is concerned."""

    async def set_level(self, ask: Ask, session: Session) -> None:
        """Answer `logging/setLevel`."""

    async def subscribe(self, ask: Ask, session: Session, *, on: bool) -> None:
        """Answer `resources/subscribe` (or `resources/unsubscribe`)."""


class Kin(Protocol):
    """Other processes that may hold a session too."""

    async def find(self, ident: str, identity: str) -> Session | None:
        """The session, begun here with what others know of it. Raises TooManySessions."""

    async def end(self, ident: str) -> None:
        """The client has ended it."""

    def tell_said(self, session: Session, message: Message) -> None:
        """The client said something that concerns nothing here."""

    def listens(self, session: Session) -> None:
        """Its GET stream is here from now on."""

    def silent(self, session: Session) -> None:
        """Its GET stream is here no longer."""


class Legacy:
    """Speaks Legacy with clients.

    Attributes:
        kin: who may hold a session too, None = nobody.

    Args:
        alone: every session is here; else one that is not is found by asking others first.
    """

    def __init__(
        self,
        *,
        router: Answering,
        sessions: Sessions,
        outside: Beside,
        tasks: asyncio.TaskGroup,
        welcome: Welcome,
        alone: bool = True,
    ) -> None:
        self.kin: Kin | None = None
        self._alone = alone
        self._router = router
        self._outside = outside
        self._sessions = sessions
        self._tasks = tasks
        self._welcome = welcome

    async def post(
        self,
        message: Message,
        session_id: str,
        *,
        passed: Passed,
        streams: bool,
        whole: bool,
        send: Send,
        receive: Receive,
    ) -> None:
        """One message of a client."""
        if message.method == "initialize" and message.id is not None:
            await self._initialize(message, streams=streams, whole=whole, send=send)
            return
        session = await self._session(session_id, message, send)
        if session is None:
            return
        if message.id is None or not message.method:
            self._notified(session, message)
            await send_whole(send, 202)
            return
        answer = self.answer(session, bytes(message.id), send, streams=streams, whole=whole)
        await self._request(session, message, answer, receive, passed)

    def answer(
        self, session: Session, ident: bytes, send: Send, *, streams: bool = True, whole: bool = True
    ) -> HttpAnswer:
        """Where the answer to a request of this session goes."""
        primed = session.version == LATEST
        return HttpAnswer(
            send, ident, Era.LEGACY, streams=streams, whole=whole, channel=session.open_channel, primed=primed
        )

    def session(self, session_id: str) -> Session | None:
        """The caller's session, marked as used; None where the id is not good, there is no room for it, or another
        process may have it.
        """
        try:
            return self._sessions.get(session_id, identity=ANONYMOUS, anew=self._alone) if session_id else None
        except TooManySessions:
            return None

    async def batch(self, body: bytes, session_id: str, *, passed: Passed, send: Send) -> None:
        """Several messages at once: only where the session agreed on the one revision that has batches."""
        session = await self._session(session_id, None, send)
        if session is None:
            return
        if session.version != BATCH_VERSION:
            refusal = "batches are not supported; send one message a request"
            await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, refusal)
            return
        try:
            messages = [jsonrpc.decode(bytes(raw)) for raw in msgspec.json.decode(body, type=list[Raw])]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            await send_refusal(send, 400, jsonrpc.PARSE_ERROR, "the body is not valid JSON-RPC")
            return
        if not messages or len(messages) > MAX_BATCH:
            await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, f"a batch has 1 to {MAX_BATCH} messages")
            return
        answers: list[bytes] = []
        for message in messages:
            if message.id is None or not message.method:
                self._notified(session, message)
                continue
            answer = CollectedAnswer(bytes(message.id), Era.LEGACY)
            await self._request(session, message, answer, None, passed)
            answers.append(answer.message)
        if answers:
            await send_whole(send, 200, b"[" + b",".join(answers) + b"]")
        else:
            await send_whole(send, 202)

    async def stream(self, session_id: str, *, last_event_id: str, send: Send, receive: Receive) -> None:
        """The GET stream: `list_changed` as it happens, those since the session began included.

        With the id of an event it is the stream of that event: what came after it, then what follows.
        """
        session = await self._session(session_id, None, send)
        if session is None:
            return
        missed: list[bytes] = []
        if last_event_id:
            found = session.replay.find(last_event_id)
            kept = None if found is None else found[0].after(found[1])
            if kept is None and Replay.standalone_elsewhere(last_event_id):
                # A gap, as if no stream had been open: the lists may have changed in it.
                session.listener.tell(Changed)
                found, kept = (session.replay.standalone, 0), []
            if found is None or kept is None:
                message = "the events after Last-Event-ID are no longer kept; ask without it"
                await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, message)
                return
            if found[0] is not session.replay.standalone:
                await self._resumed(session, found[0], kept, send=send, receive=receive)
                return
            missed = kept
        channel = session.replay.standalone
        listener = self._sessions.take_over(session)
        if self.kin is not None:
            self.kin.listens(session)
        session.streams += 1
        watch = self._tasks.create_task(watch_client(receive, listener.close))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            # Something at once, so that proxies pass the head on.
            await send({"type": "http.response.body", "body": KEEP_ALIVE + b"".join(missed), "more_body": True})
            while not listener.closed:
                changes = await listener.next(KEEP_ALIVE_S)
                if listener.closed:
                    # Not told: the next stream of this session begins with them.
                    listener.tell(changes)
                    break
                told = [jsonrpc.encode_notification(changed.value) for changed in changes] + listener.messages()
                chunk = b"".join(channel.add(message) for message in told)
                await send({"type": "http.response.body", "body": chunk or KEEP_ALIVE, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            session.streams -= 1
            watch.cancel()
            if self.kin is not None and session.listener is listener:
                self.kin.silent(session)

    async def _resumed(
        self, session: Session, channel: Channel, missed: list[bytes], *, send: Send, receive: Receive
    ) -> None:
        """The rest of a call's stream, on another connection than the one that it began on."""
        gone = asyncio.Event()
        watch = self._tasks.create_task(watch_client(receive, gone.set))
        session.streams += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
            position = channel.last
            await send({"type": "http.response.body", "body": b"".join(missed) or KEEP_ALIVE, "more_body": True})
            while not gone.is_set():
                more = channel.after(position)
                if more is None:
                    break
                position = channel.last
                if more:
                    await send({"type": "http.response.body", "body": b"".join(more), "more_body": True})
                elif channel.ended:
                    break
                else:
                    await channel.news(1.0)
            await send({"type": "http.response.body", "body": b""})
        finally:
            session.streams -= 1
            watch.cancel()

    async def delete(self, session_id: str, *, send: Send) -> None:
        """The client ends its session."""
        if not session_id:
            await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, MISSING)
            return
        if self.kin is not None and await self._session(session_id, None, send) is None:
            return
        if self._sessions.close(session_id, identity=ANONYMOUS):
            if self.kin is not None:
                await self.kin.end(session_id)
            await send_whole(send, 200)
        else:
            await send_refusal(send, 404, jsonrpc.INVALID_REQUEST, NOT_FOUND)

    async def _initialize(self, message: Message, *, streams: bool, whole: bool, send: Send) -> None:
        assert message.id is not None
        try:
            offered = fields_of(message.params or Raw(b"{}"))
            wanted = msgspec.json.decode(offered["protocolVersion"], type=str)
        except (KeyError, msgspec.MsgspecError):
            answer = HttpAnswer(send, bytes(message.id), Era.LEGACY, streams=streams, whole=whole)
            await answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params.protocolVersion must be a string"))
            return
        result = self._welcome(wanted)
        version = str(result["protocolVersion"])
        try:
            session = self._sessions.open(version, _object(offered.get("capabilities")), identity=ANONYMOUS)
        except TooManySessions:
            await _full(send)
            return
        extra = [(b"mcp-session-id", session.ident.encode())]
        answer = HttpAnswer(send, bytes(message.id), Era.LEGACY, streams=streams, whole=whole, extra=extra)
        await answer.result(msgspec.json.encode(result))

    async def _session(self, session_id: str, message: Message | None, send: Send) -> Session | None:
        if not session_id:
            if message is not None and message.method == "ping" and message.id is not None:
                await send_whole(send, 200, jsonrpc.encode_result(bytes(message.id), b"{}"))
                return None
            await send_refusal(send, 400, jsonrpc.INVALID_REQUEST, MISSING)
            return None
        try:
            session = self._sessions.get(session_id, identity=ANONYMOUS, anew=self.kin is None)
            if session is None and self.kin is not None:
                session = await self.kin.find(session_id, ANONYMOUS)
        except TooManySessions:
            await _full(send)
            return None
        if session is None:
            await send_refusal(send, 404, jsonrpc.INVALID_REQUEST, NOT_FOUND)
        return session

    def said(self, session: Session, message: Message) -> bool:
        """The client said this, here or elsewhere; False = it concerns nothing here."""
        if message.is_response:
            return session.questions.answered(message)
        if message.method != "notifications/cancelled" or message.params is None:
            return self._outside.notified(session, message) is not False
        try:
            flight = session.flights.get(bytes(fields_of(message.params)["requestId"]))
        except (KeyError, msgspec.MsgspecError):
            return True
        if flight is not None:
            flight.cancel("by the client")
        return flight is not None

    def _notified(self, session: Session, message: Message) -> None:
        if not self.said(session, message) and self.kin is not None:
            self.kin.tell_said(session, message)

    async def _request(
        self, session: Session, message: Message, answer: Answer, receive: Receive | None, passed: Passed
    ) -> None:
        params = bytes(message.params) if message.params is not None else b""
        try:
            fields = fields_of(params) if params else {}
        except msgspec.MsgspecError:
            await answer.error(rpc_error(jsonrpc.INVALID_PARAMS, "params must be an object"))
            return
        ask = Ask(
            message.method,
            params,
            answer,
            fields,
            capabilities=session.capabilities,
            log_level=session.log_level,
            flights=session.flights,
            receive=receive,
            session=session,
            passed=passed,
        )
        if await self._router.handle(ask):
            return
        match message.method:
            case "ping":
                await answer.result(b"{}")
            case "logging/setLevel":
                await self._outside.set_level(ask, session)
            case "resources/subscribe":
                await self._outside.subscribe(ask, session, on=True)
            case "resources/unsubscribe":
                await self._outside.subscribe(ask, session, on=False)
            case method:
                await answer.error(rpc_error(jsonrpc.METHOD_NOT_FOUND, f"unknown method: {method}"))


def own_welcome(server_info: Mapping[str, str]) -> Welcome:
    """The gateway's: it offers what its backends may have, whatever they have right now."""

    def welcome(wanted: str) -> Mapping[str, object]:
        version = wanted if wanted in VERSIONS else LATEST
        capabilities = CAPABILITIES if version != LATEST else {**CAPABILITIES, "tasks": TASKS}
        return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": dict(server_info)}

    return welcome


async def _full(send: Send) -> None:
    retry = [(b"retry-after", b"5")]
    await send_refusal(send, 503, jsonrpc.INTERNAL_ERROR, "too many sessions in use; try again later", retry)


def _object(raw: Raw | None) -> bytes:
    """The JSON object in `raw`, an empty one where it is none."""
    return bytes(raw) if raw is not None and bytes(raw)[:1] == b"{" else b"{}"
