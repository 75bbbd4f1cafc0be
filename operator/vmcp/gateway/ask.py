"""One request of a client, read as far as routing needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import Answer, Receive
from vmcp.gateway.flight import Underway
from vmcp.gateway.passthrough import Passed
from vmcp.gateway.sessions import Session
from vmcp.gateway.tracing import CallSpan, TracedAnswer
from vmcp.mcp.backend import Era
from vmcp.mcp.dialect import Begun
from vmcp.mcp.modern import REVISION

LOG_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
SILENT: Final = len(LOG_LEVELS)

fields_of = msgspec.json.Decoder(dict[str, Raw]).decode
text_of = msgspec.json.Decoder(str).decode


@dataclass(slots=True)
class Ask:
    """A request and where its answer goes.

    Attributes:
        params: as the client sent them; empty = none.
        fields: members of `params`, each still raw.
        capabilities: what the client can be asked, as JSON.
        log_level: index in LOG_LEVELS of the least severe log message to pass on; SILENT = none.
        flights: where a call under way is found by its request id; None = nobody can cancel it by id.
        receive: tells that the client left; None = that cannot be seen (batch).
        session: of a Legacy client.
        passed: headers of the client that go on to the backend.
        headers: of a Modern client, which repeats in them what the body says.
        begun: the request, where it was sent to the backend already.
        span: of the request, where it is traced.
    """

    method: str
    params: bytes
    answer: Answer
    fields: dict[str, Raw] = field(default_factory=dict)
    capabilities: bytes = b"{}"
    log_level: int = 0
    flights: dict[bytes, Underway] | None = None
    receive: Receive | None = None
    session: Session | None = None
    passed: Passed = ()
    headers: Mapping[bytes, bytes] | None = None
    begun: Begun | None = None
    span: CallSpan | None = None

    @property
    def version(self) -> str:
        """Protocol revision of the client."""
        return REVISION if self.session is None else self.session.version

    def traced(self, span: CallSpan) -> None:
        """From now on the span hears of what becomes of the request."""
        self.span = span
        self.answer = TracedAnswer(self.answer, span)

    @property
    def era(self) -> Era:
        """Era of the client."""
        return self.answer.era

    def text(self, member: str) -> str | None:
        """A string member of the params; None when it is missing or no string."""
        raw = self.fields.get(member)
        if raw is None:
            return None
        try:
            return text_of(raw)
        except msgspec.MsgspecError:
            return None
