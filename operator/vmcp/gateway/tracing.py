"""A span for each request that goes to the backends or to the lists, by the OpenTelemetry conventions for MCP.

No arguments, results, URIs or session ids. The parent comes from `_meta` or the headers of the request, and what goes
to the backend says in both that it is the span's child.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from vmcp.gateway.answer import Answer
from vmcp.gateway.passthrough import Passed
from vmcp.mcp.jsonrpc import JsonRpcError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

SERVICE: Final = "vmcp-gateway"

_CONTEXT: Final = ("traceparent", "tracestate")
_NAMES: Final = {"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name"}
_MOST_IDENT_CHARS: Final = 64
_meta_of = msgspec.json.Decoder(dict[str, Raw]).decode


class _Told(msgspec.Struct, rename={"is_error": "isError"}):
    is_error: bool = False


_told_by = msgspec.json.Decoder(_Told).decode


class CallSpan:
    """The span of one request, open until `end`.

    Attributes:
        passed: headers that make what is done for this request its child, in place of the client's.
    """

    __slots__ = ("_method", "_span", "passed")

    def __init__(self, span: "Span", method: str, passed: Passed) -> None:
        self._span = span
        self._method = method
        self.passed = passed

    def named(self, name: str) -> None:
        """The tool or prompt, as the client calls it; it is known to exist, so that there are not too many names."""
        self._span.update_name(f"{self._method} {name}")
        self._span.set_attribute(_NAMES[self._method], name)

    def routed(self, backend: str) -> None:
        """The backend that is to answer."""
        self._span.set_attribute("vmcp.backend", backend)

    def result(self, result: bytes) -> None:
        """The response: a result, which may tell that a tool failed."""
        if self._method == "tools/call" and self._span.is_recording():
            try:
                failed = _told_by(result).is_error
            except msgspec.MsgspecError:
                failed = False
            if failed:
                self._failed("tool_error")

    def error(self, error: JsonRpcError) -> None:
        """The response: an error."""
        self._span.set_attribute("rpc.response.status_code", str(error.code))
        self._failed(str(error.code))

    def end(self) -> None:
        """The request is answered."""
        self._span.end()

    def _failed(self, kind: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class TracedAnswer(Answer):
    """An answer that its span hears of."""

    def __init__(self, answer: Answer, span: CallSpan) -> None:
        self._answer = answer
        self._span = span
        self.ident = answer.ident
        self.era = answer.era
        self.streams = answer.streams

    @property
    def resumable(self) -> bool:
        """As the answer itself."""
        return self._answer.resumable

    async def keep_alive(self) -> None:
        """As the answer itself."""
        await self._answer.keep_alive()

    async def event(self, message: bytes) -> None:
        """As the answer itself."""
        await self._answer.event(message)

    async def result(self, result: bytes) -> None:
        """As the answer itself."""
        self._span.result(result)
        await self._answer.result(result)

    async def error(self, error: JsonRpcError) -> None:
        """As the answer itself."""
        self._span.error(error)
        await self._answer.error(error)


class Tracing:
    """Begins spans."""

    def __init__(self, tracer: "Tracer") -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._kind = SpanKind.SERVER
        self._propagator = TraceContextTextMapPropagator()
        self._within = set_span_in_context

    def begin(self, method: str, ident: bytes, version: str, fields: dict[str, Raw], passed: Passed) -> CallSpan:
        """A span for the request; `_meta` in its `fields` is made to tell of it.

        Args:
            version: protocol revision of the client.
            passed: headers of the client that go on to the backend.
        """
        meta = _meta(fields)
        parent = {name: value for name, value in passed if name in _CONTEXT}
        if "traceparent" in meta:
            parent = {name: _text(meta[name]) for name in _CONTEXT if name in meta}
        attributes = {
            "mcp.method.name": method,
            "mcp.protocol.version": version,
            "jsonrpc.request.id": ident.decode(errors="replace").strip('"')[:_MOST_IDENT_CHARS],
            "network.protocol.name": "http",
            "network.transport": "tcp",
        }
        if method == "tools/call":
            attributes["gen_ai.operation.name"] = "execute_tool"
        context = self._propagator.extract(parent)
        span = self._tracer.start_span(method, context=context, kind=self._kind, attributes=attributes)
        child: dict[str, str] = {}
        self._propagator.inject(child, context=self._within(span))
        for name in _CONTEXT:
            meta.pop(name, None)
        meta |= {name: Raw(msgspec.json.encode(value)) for name, value in child.items()}
        fields["_meta"] = Raw(msgspec.json.encode(meta))
        others = tuple(pair for pair in passed if pair[0] not in _CONTEXT)
        return CallSpan(span, method, others + tuple(child.items()))


def _meta(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    try:
        return _meta_of(fields["_meta"])
    except (KeyError, msgspec.MsgspecError):
        return {}


def _text(raw: Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return ""
