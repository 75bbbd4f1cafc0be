"""Clients that do at random what clients do, and hold every answer against what they asked.

Each client has a name that no other has, and each of its calls a token that no other call has: an answer that is
somebody else's, or comes twice, is seen at once.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tests.chaos.echoserver import TOOL_ERROR
from tests.gateway.wire import Message, Wire, messages_of

PATIENCE_S = 60.0
"""For any one answer. Calls end sooner by themselves."""
UNAVAILABLE, INTERNAL, CANCELLED, UNKNOWN = -32003, -32603, -32800, -32602
_META = "io.modelcontextprotocol/"


class Ledger:
    """What became of all calls.

    Attributes:
        answered: tokens whose result came.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.answered: set[str] = set()

    def result(self, token: str) -> None:
        assert token not in self.answered, f"{token} is answered twice"
        self.answered.add(token)
        self.outcomes["result"] += 1


class Client(ABC):
    """One client, on one connection at a time.

    Args:
        backends: that it calls.
        leaving: those of them that the configuration drops now and then.
    """

    def __init__(
        self, name: str, origin: str, backends: Sequence[str], leaving: set[str], ledger: Ledger, rng: random.Random
    ) -> None:
        self.name = name
        self._origin = origin
        self._backends = backends
        self._leaving = leaving
        self._ledger = ledger
        self._rng = rng
        self._count = 0
        self._wire: Wire | None = None

    async def live(self, end: asyncio.Event) -> None:
        """Act at random until the end."""
        acts = {
            self.call: 60, self.fail: 5, self.hear_progress: 8, self.be_patient: 5, self.give_up: 5, self.leave: 3,
            self.mistake: 2, self.look: 4, self.greet: 4, self.begin_anew: 2,
        }  # fmt: skip
        await self.begin_anew()
        while not end.is_set():
            act = self._rng.choices(list(acts), list(acts.values()))[0]
            async with asyncio.timeout(PATIENCE_S):
                await act()
            await asyncio.sleep(self._rng.uniform(0, 0.02))
        await self.greet()
        self.close()

    async def call(self, **arguments: Any) -> None:
        """A call, and its answer."""
        ident, token, backend, message = self._call(**arguments)
        self._judge(await self._ask(message), ident, token, backend)

    async def fail(self) -> None:
        await self.call(fail=True)

    async def hear_progress(self) -> None:
        await self.call(progress=f"{self.name} hears")

    async def be_patient(self) -> None:
        await self.call(seconds=self._rng.uniform(0.05, 0.5))

    async def leave(self) -> None:
        """Call and go away."""
        wire, (_, _, _, message) = await self._opened(), self._call(seconds=self._rng.uniform(0, 0.2))
        wire.send(message, **self._headers(message))
        await asyncio.sleep(self._rng.uniform(0, 0.1))
        self.close()
        self._ledger.outcomes["left"] += 1

    @abstractmethod
    async def give_up(self) -> None:
        """Call, and cancel the call."""

    async def mistake(self) -> None:
        """Call what never was."""
        message = self._message("tools/call", {"name": f"no such {self.name}", "arguments": {}})
        (response,) = await self._ask(message)
        assert (response["id"], response["error"]["code"]) == (message["id"], UNKNOWN), response
        self._ledger.outcomes["mistake"] += 1

    async def look(self) -> None:
        message = self._message("tools/list", {})
        (response,) = await self._ask(message)
        names = {tool["name"] for tool in response["result"]["tools"]}
        assert response["id"] == message["id"]
        assert names <= {f"{backend}_echo" for backend in self._backends}
        self._ledger.outcomes["list"] += 1

    @abstractmethod
    async def greet(self) -> None:
        """What is answered without any backend."""

    @abstractmethod
    async def begin_anew(self) -> None:
        """A new connection, and a session where there are sessions."""

    @abstractmethod
    def _headers(self, message: Message) -> dict[str, str]: ...

    @abstractmethod
    def _meta(self, progress: str | None) -> Message: ...

    def _message(self, method: str, params: Message) -> Message:
        # Ids are the client's own business: every client counts alike.
        self._count += 1
        arguments = params.get("arguments", {})
        meta = self._meta(arguments.get("progress"))
        return {
            "jsonrpc": "2.0",
            "id": self._count,
            "method": method,
            "params": params | ({"_meta": meta} if meta else {}),
        }

    def _call(self, **arguments: Any) -> tuple[int, str, str, Message]:
        backend = self._rng.choice(self._backends)
        token = f"{self.name}/{self._count + 1}"
        message = self._message("tools/call", {"name": f"{backend}_echo", "arguments": {"token": token, **arguments}})
        return message["id"], token, backend, message

    def _judge(self, messages: list[Message], ident: int, token: str, backend: str) -> None:
        """Progress of this call, perhaps, and then one response to it."""
        *before, response = messages
        for told in before:
            assert told["method"] == "notifications/progress", told
            assert told["params"]["message"] == token, (told, token)
        assert response["id"] == ident, (response, ident)
        if "result" in response:
            assert response["result"]["content"][0]["text"] == token, (response, token)
            # Whatever era its backend speaks, a client hears its own.
            assert ("resultType" in response["result"]) is isinstance(self, ModernClient), response
            self._ledger.result(token)
            return
        error = response["error"]
        match error["code"]:
            case code if code == TOOL_ERROR:
                assert error["message"] == token, (response, token)
                self._ledger.outcomes["tool's error"] += 1
            case code if code in (UNAVAILABLE, INTERNAL):
                assert error["data"]["backend"] == backend, (response, backend)
                self._ledger.outcomes["unavailable" if code == UNAVAILABLE else "no answer"] += 1
            case code if code == UNKNOWN and backend in self._leaving:
                self._ledger.outcomes["not configured"] += 1
            case code if code == CANCELLED:
                self._ledger.outcomes["cancelled"] += 1
            case _:
                raise AssertionError(response)

    async def _ask(self, message: Message) -> list[Message]:
        wire = await self._opened()
        return await wire.ask(message, **self._headers(message))

    async def _opened(self) -> Wire:
        if self._wire is None:
            self._wire = await Wire.open(self._origin)
        return self._wire

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None


class LegacyClient(Client):
    """With a session."""

    _session = ""

    async def begin_anew(self) -> None:
        self.close()
        info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": self.name, "version": "0"}}
        wire = await self._opened()
        wire.send({"jsonrpc": "2.0", "id": self.name, "method": "initialize", "params": info})
        status, headers, (response,) = await wire.receive()
        assert (status, response["id"]) == (200, self.name)
        self._session = headers["mcp-session-id"]
        self._ledger.outcomes["session"] += 1

    async def greet(self) -> None:
        message = self._message("ping", {})
        assert await self._ask(message) == [{"jsonrpc": "2.0", "id": message["id"], "result": {}}]
        self._ledger.outcomes["greeting"] += 1

    async def give_up(self) -> None:
        ident, token, backend, message = self._call(seconds=0.5)
        wire = await self._opened()
        wire.send(message, **self._headers(message))
        await asyncio.sleep(self._rng.uniform(0, 0.1))
        aside = await Wire.open(self._origin)
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": ident}}
        assert await aside.ask(cancelled, **self._headers(cancelled)) == []
        aside.close()
        self._judge((await wire.receive())[2], ident, token, backend)

    async def listen(self, end: asyncio.Event) -> None:
        """Keep a GET stream, on which no response may ever come; a new session opens a new one."""
        while not end.is_set():
            await asyncio.sleep(0.1)
            if not self._session:
                continue
            wire = await Wire.open(self._origin)
            wire.send(None, method="GET", accept="text/event-stream", mcp_session_id=self._session)
            with suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                async with asyncio.timeout(self._rng.uniform(1, 5)):
                    status, _ = await wire.head()
                    # The session may have been left between; one session has one stream.
                    assert status in (200, 404, 409), status
                    while status == 200 and (chunk := await wire.chunk()):
                        for told in messages_of(chunk):
                            assert told["method"] == "notifications/tools/list_changed", told
                            self._ledger.outcomes["told of a change"] += 1
            wire.close()

    def _headers(self, message: Message) -> dict[str, str]:
        return {"mcp_session_id": self._session}

    def _meta(self, progress: str | None) -> Message:
        return {} if progress is None else {"progressToken": progress}


class ModernClient(Client):
    """Without."""

    async def begin_anew(self) -> None:
        self.close()
        await self.greet()

    async def greet(self) -> None:
        message = self._message("server/discover", {})
        (response,) = await self._ask(message)
        assert (response["id"], response["result"]["supportedVersions"]) == (message["id"], ["2026-07-28"])
        self._ledger.outcomes["greeting"] += 1

    async def give_up(self) -> None:
        await self.leave()

    def _headers(self, message: Message) -> dict[str, str]:
        name = message["params"].get("name")
        headers = {"mcp_protocol_version": "2026-07-28", "mcp_method": message["method"]}
        return headers | ({"mcp_name": name} if name else {})

    def _meta(self, progress: str | None) -> Message:
        envelope: Message = {f"{_META}protocolVersion": "2026-07-28", f"{_META}clientCapabilities": {}}
        return envelope | ({} if progress is None else {"progressToken": progress})
