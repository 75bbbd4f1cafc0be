"""The MCP server behind the stream: attached to, initialized once, and begun anew when it is lost.

All requests share its one session. Each gets an id of ours, and a progress token of ours where its caller has one; what
comes back goes to its call under the caller's own.
"""

import asyncio
import logging
import random
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.replay import one_line
from vmcp.mcp import jsonrpc
from vmcp.mcp.endpoint import Identity
from vmcp.mcp.errors import BackendError
from vmcp.mcp.exchange import Deadline, Reply, cancelled
from vmcp.mcp.jsonrpc import JsonRpcError, Message
from vmcp.mcp.legacy import agreed, initialize_params
from vmcp.mcp.progress import PROGRESS, token_of, told_under, with_token
from vmcp.stdio.attach import Attach, AttachError, Source
from vmcp.stdio.call import Call, NotSent, ServerLost
from vmcp.stdio.cancelling import is_cancelled
from vmcp.stdio.lines import Lines, TooLong
from vmcp.stdio.metrics import Metrics
from vmcp.stdio.outbox import Outbox
from vmcp.stdio.stderr import printable

log = logging.getLogger(__name__)

MOST_LINE_BYTES: Final = 16 * 1024 * 1024
OPEN_S: Final = 30.0
INITIALIZE_S: Final = 60.0
"""Some servers load for long before they read."""
PING_EVERY_S: Final = 600.0
"""Container runtimes end an attach on which nothing has passed for hours."""
FIRST_RETRY_S: Final = 0.25
LAST_RETRY_S: Final = 5.0
STEADY_S: Final = 30.0
"""A server that lasted this long is attached to again without further patience."""
MOST_FIRST_ID: Final = 2**30
"""Some servers read ids as 32 bits."""
SHOWN_SKIPPED: Final = 20
"""Lines without a message, shown in the log for each life of the server."""

CAPABILITIES: Final = b'{"sampling":{},"elicitation":{},"roots":{"listChanged":true}}'
"""What the server may ask for: of a client that can be asked it, if there is one."""

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
_FIRST_ID: Final = re.compile(rb'\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d+)\s*,')
_LAST_ID: Final = re.compile(rb'"id"\s*:\s*(\d+)\s*\}\s*$')


class Server:
    """One server.

    Args:
        heard: takes what the server says and no call waits for: requests, and notifications but progress.
        lost: the server is gone, every call of it has ended; called between two of its lives.
        most_calls: under way at once.

    Attributes:
        missing: why it cannot be used right now; empty = it can.
        greeting: its answer to `initialize`; kept while it is away.
        revision: the protocol revision agreed on with it.
    """

    def __init__(
        self,
        source: Source,
        *,
        identity: Identity,
        heard: Callable[[Message], None],
        lost: Callable[[], Awaitable[None]],
        most_calls: int,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._identity = identity
        self._heard = heard
        self._lost = lost
        self._most_calls = most_calls
        self._metrics = metrics
        self._first_id = self._last_id = 0
        self._strangers = 0
        self._calls: dict[bytes, Call] = {}
        self._outbox = Outbox()
        self._skipped = 0
        self.missing = "waiting for the server"
        self.greeting: Mapping[str, Raw] = {}
        self.revision = ""

    @property
    def under_way(self) -> int:
        """Calls that wait for their response."""
        return len(self._calls)

    async def run(self) -> None:
        """Keep a session with the server until cancelled."""
        retry_s = FIRST_RETRY_S
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._live()
            except AttachError as error:
                reason = str(error)
            if self.missing != reason:
                log.warning("no session with the server: %s", reason)
            self.missing = reason
            await self._lost()
            if loop.time() - began > STEADY_S:
                retry_s = FIRST_RETRY_S
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(retry_s * 2, LAST_RETRY_S)

    async def begin(self, method: str, params: bytes, deadline: Deadline) -> Call:
        """Send a request.

        Raises:
            NotSent: the server cannot be used, too many calls are under way, or by the deadline it has not read what
                came before.
        """
        outbox = self._outbox
        try:
            async with deadline.timeout():
                if not await outbox.room(len(params)):
                    raise NotSent("it does not read, and too much waits for it already")
        except TimeoutError:
            raise NotSent("it has not read in time what came before") from None
        deadline.passed()
        if self.missing or outbox is not self._outbox:
            raise NotSent(self.missing or "it has just been lost")
        if len(self._calls) >= self._most_calls:
            raise NotSent(f"{self._most_calls} calls are under way; try again later")
        return self._send(method, params, deadline)

    def cancel(self, call: Call, reason: str) -> None:
        """Nobody waits for the response any more. Does nothing when the call is over."""
        if self._calls.pop(call.ident, None) is not None:
            self._outbox.put(cancelled(call.ident, reason))

    def answer(self, ident: bytes, result: bytes | None, error: JsonRpcError | None = None) -> None:
        """Answer a request of the server."""
        answer = jsonrpc.encode_error(ident, error) if error else jsonrpc.encode_result(ident, result or b"{}")
        self._outbox.put(one_line(answer))

    def notify(self, message: Message) -> None:
        """Pass on a notification; dropped where the server is away or does not read."""
        if not self.missing and not self._outbox.full:
            self._outbox.put(one_line(message.raw))

    def say(self, method: str, params: bytes = b"") -> None:
        """Send a request whose response nobody waits for; dropped as a notification is."""
        if not self.missing and not self._outbox.full:
            self._outbox.put(one_line(jsonrpc.encode_request(self._next_id(), method, params)))

    async def _live(self) -> None:
        """One life of the server, from attaching to its end. Raises AttachError always."""
        try:
            async with asyncio.timeout(OPEN_S):
                attach = await self._source.open()
        except TimeoutError:
            raise AttachError(f"attaching took longer than {OPEN_S:g} s") from None
        self._metrics.attached()
        self._outbox, self._skipped, self._strangers = Outbox(), 0, 0
        # Where two proxies come to be attached to one container, neither takes the other's answers for its own.
        self._first_id = self._last_id = secrets.randbelow(MOST_FIRST_ID)
        failure: Exception = AttachError("the server was lost")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(attach))
                tasks.create_task(self._outbox.run(attach.write))
                await self._initialize()
                while True:
                    await asyncio.sleep(PING_EVERY_S)
                    self.say("ping")
        except* (AttachError, ServerLost) as group:
            failure = _first(group)
        finally:
            # Before anything is waited for: no new call may begin.
            self.missing = self.missing or "it has just been lost"
            self._outbox.close()
            calls, self._calls = self._calls, {}
            for call in calls.values():
                call.end(ServerLost(str(failure)))
            await attach.close()
        if is_cancelled():
            raise asyncio.CancelledError
        raise AttachError(str(failure))

    async def _initialize(self) -> None:
        loop = asyncio.get_running_loop()
        call = self._send("initialize", initialize_params(self._identity), Deadline(loop.time() + INITIALIZE_S))
        try:
            while await call.next() is not None:
                pass
        except TimeoutError:
            raise AttachError(f"the server did not answer initialize within {INITIALIZE_S:g} s") from None
        response = call.response()
        try:
            opened = agreed(Reply(response.result, response.error, response.raw))
        except BackendError as error:
            raise AttachError(str(error)) from None
        self._outbox.put(jsonrpc.encode_notification("notifications/initialized"))
        self.greeting = _fields_of(response.result or b"{}")
        self.revision = opened.protocol_version
        self.missing = ""
        log.info("session with the server: %s, MCP %s", _name(opened.server_info), self.revision)

    def _send(self, method: str, params: bytes, deadline: Deadline) -> Call:
        ident = self._next_id()
        params, token = with_token(params, ident)
        call = self._calls[ident] = Call(ident, token, deadline)
        self._outbox.put(one_line(jsonrpc.encode_request(ident, method, params)))
        return call

    def _next_id(self) -> bytes:
        self._last_id += 1
        return b"%d" % self._last_id

    async def _read(self, attach: Attach) -> None:
        lines = Lines(limit=MOST_LINE_BYTES)
        async with aclosing(attach.output()) as chunks:
            async for chunk in chunks:
                for line in lines.feed(chunk):
                    if isinstance(line, TooLong):
                        self._too_long(line)
                    elif line.strip():
                        self._line(line)
        raise AttachError("the server's output ended")

    def _line(self, line: bytes) -> None:
        try:
            message = jsonrpc.decode(line)
        except ValueError:
            message = Message()
        try:
            self._take(line, message)
        except Exception:
            log.exception("a message of the server could not be dealt with")

    def _take(self, line: bytes, message: Message) -> None:
        if message.is_response:
            self._responded(message)
        elif message.method == "ping" and message.id is not None:
            self.answer(message.id, b"{}")
        elif message.method == PROGRESS:
            call = self._calls.get(token_of(message))
            if call is not None and call.token is not None:
                call.tell(told_under(message, call.token))
        elif message.method:
            self._heard(message)
        else:
            self._skip(f"no JSON-RPC: {printable(line[:200])}")

    def _responded(self, message: Message) -> None:
        call = self._calls.pop(message.id or b"", None)
        if call is None and message.id is None and message.error is not None and len(self._calls) == 1:
            # It could not even read the id: the error is that of the one call there is.
            _, call = self._calls.popitem()
        if call is not None:
            call.end(message)
        elif message.id is not None and not self._is_ours(message.id):
            self._strangers += 1
            if self._strangers == 1:
                log.warning("the server answers requests that are not ours: something else is attached to it")

    def _is_ours(self, ident: bytes) -> bool:
        return ident.isdigit() and self._first_id < int(ident[:20]) <= self._last_id

    def _too_long(self, line: TooLong) -> None:
        self._skip(f"longer than {MOST_LINE_BYTES} bytes")
        # Its call would wait for nothing: SDKs put the id at one of the two ends.
        found = _FIRST_ID.match(line.head) or _LAST_ID.search(line.tail)
        call = self._calls.pop(found.group(1), None) if found else None
        if call is not None:
            text = f"the server's answer is longer than {MOST_LINE_BYTES} bytes"
            call.end(Message(error=JsonRpcError(jsonrpc.INTERNAL_ERROR, text)))

    def _skip(self, why: str) -> None:
        self._metrics.skipped()
        self._skipped += 1
        if self._skipped <= SHOWN_SKIPPED:
            log.warning("skipped a line of the server's output, %s", why)
            if self._skipped == SHOWN_SKIPPED:
                log.warning("further lines like this are not shown until the server is attached to again")


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _name(info: Mapping[str, object]) -> str:
    return printable(f"{info.get('name', '?')} {info.get('version', '')}".encode())[:100]
