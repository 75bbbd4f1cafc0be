"""Calls of Modern clients to Legacy backends that wait for the client: the backend asked something in the middle.

A Modern client is not sent requests. It gets the backend's question as a result (`input_required`) and asks again with
the answers; until then the call to the backend is held open here. Whoever asks again reaches this replica or none: the
state is a reference, not the call.
"""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.questions import ANSWER_S
from vmcp.gateway.upstream import Upstream
from vmcp.mcp.backend import Exchange, Message

MAX_HELD: Final = 1_000
MAX_HELD_OF_ONE: Final = 64
STATE_PREFIX: Final = "vmcp-held:"


@dataclass(slots=True)
class HeldCall:
    """A call that waits.

    Attributes:
        questions: the backend's request ids by the key that the client answers under.
        told: the `input_required` result.
    """

    method: str
    own: str
    upstream: Upstream
    exchange: Exchange
    questions: dict[str, bytes]
    told: bytes
    until: float


class HeldCalls:
    """All of them, bounded in number and time.

    Args:
        place: what states say of where they lead to; empty = there is only one place.
    """

    def __init__(self, place: str = "") -> None:
        self._prefix = STATE_PREFIX + place
        self._held: dict[str, HeldCall] = {}

    def full(self, upstream: Upstream) -> bool:
        """No more can be held, at all or of this backend: each keeps a connection to it."""
        if len(self._held) >= MAX_HELD:
            return True
        return sum(call.upstream is upstream for call in self._held.values()) >= MAX_HELD_OF_ONE

    def hold(self, method: str, own: str, upstream: Upstream, exchange: Exchange, question: Message) -> bytes:
        """Hold the call until its question is answered; returns the result to give to the client."""
        state = self._prefix + secrets.token_urlsafe(24)
        key = "question"
        asked: dict[str, object] = {"method": question.method}
        if question.params is not None:
            asked["params"] = Raw(question.params)
        told = msgspec.json.encode(
            {"resultType": "input_required", "inputRequests": {key: asked}, "requestState": state}
        )
        until = asyncio.get_running_loop().time() + ANSWER_S
        exchange.wait_until(until + 1.0)
        questions = {key: question.id or b"null"}
        self._held[state] = HeldCall(method, own, upstream, exchange, questions, told, until)
        return told

    def take(self, state: str, method: str, own: str) -> HeldCall | None:
        """The held call, held no longer; None when it is not known, or is another request's."""
        call = self._held.get(state)
        if call is None or (call.method, call.own) != (method, own):
            return None
        return self._held.pop(state)

    def put_back(self, state: str, call: HeldCall) -> None:
        """The client gave no answer: go on waiting."""
        self._held[state] = call

    def expired(self) -> list[HeldCall]:
        """Calls that waited too long, held no longer."""
        now = asyncio.get_running_loop().time()
        over = [state for state, call in self._held.items() if call.until <= now]
        return [self._held.pop(state) for state in over]

    def all(self) -> list[HeldCall]:
        """Every call, held no longer (the gateway stops)."""
        calls = list(self._held.values())
        self._held.clear()
        return calls
