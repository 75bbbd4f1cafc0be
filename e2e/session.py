"""A Legacy session by hand: where the official client ends with its connection, this one calls on a new one."""

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

_VERSION = "2025-11-25"
_HEADERS = {"accept": "application/json, text/event-stream", "mcp-protocol-version": _VERSION}
_CALL_SECONDS = 30.0


class Session:
    """One session: initialized once, and never again.

    Attributes:
        id: what the gateway gave it.
    """

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.id = ""
        self._http = http
        self._url = url
        self._numbers = itertools.count(1)

    async def call(self, tool: str, **arguments: str) -> str:
        """The text that a tool answers.

        Raises:
            httpx.HTTPError: no answer, or one of HTTP's errors.
            LookupError: an answer without the text, such as a JSON-RPC error.
        """
        answer = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        try:
            return str(answer["result"]["content"][0]["text"])
        except (KeyError, IndexError):
            raise LookupError(json.dumps(answer)) from None

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """A request's answer, result or error."""
        number = next(self._numbers)
        headers = _HEADERS | ({"mcp-session-id": self.id} if self.id else {})
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        answer = (await self._http.post(self._url, json=message, headers=headers)).raise_for_status()
        self.id = self.id or answer.headers.get("mcp-session-id", "")
        return next(each for each in _messages(answer) if each.get("id") == number)


@asynccontextmanager
async def opened(url: str, capabilities: Mapping[str, Any] | None = None) -> AsyncIterator[Session]:
    """A session that has been initialized, with what the client says that it is capable of."""
    async with httpx.AsyncClient(timeout=_CALL_SECONDS) as http:
        session = Session(http, url)
        client = {"name": "e2e", "version": "1"}
        offer = {"protocolVersion": _VERSION, "capabilities": dict(capabilities or {}), "clientInfo": client}
        await session.ask("initialize", offer)
        assert session.id, "the gateway gave no session id"
        yield session


def _messages(answer: httpx.Response) -> list[dict[str, Any]]:
    if answer.headers["content-type"].startswith("application/json"):
        return [answer.json()]
    lines = (line.removeprefix("data:").strip() for line in answer.text.splitlines() if line.startswith("data:"))
    return [json.loads(line) for line in lines if line]
