"""Which headers of a caller go on to backends: those that a list names, and the W3C trace context."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from vmcp.api.edgerules import may_pass
from vmcp.gateway.answer import Headers

Passed = tuple[tuple[str, str], ...]

TRACE_CONTEXT: Final = frozenset((b"traceparent", b"tracestate"))

_TRACE_PARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,256})?")
_MOST_TRACE_STATE_BYTES: Final = 512
_UNREMARKABLE: Final = (b"keep-alive", b"close")


class Passthrough:
    """Picks what of a request's headers is passed on.

    Attributes:
        names: headers that the short way of a call leaves to the ordinary one.
    """

    def __init__(self) -> None:
        self._names: frozenset[bytes] = frozenset()
        self.configure(())

    def configure(self, names: Iterable[str]) -> None:
        """Pass on headers of these names from now on (`passthroughHeaders`); what never may pass is left out."""
        listed = {name.lower().encode() for name in names if may_pass(name)}
        self._names = frozenset(listed | TRACE_CONTEXT)
        self.names = frozenset(listed | {b"origin", b"expect"})

    def of(self, headers: Headers) -> Passed:
        """What is passed on of these headers, in their order; names are lower-case."""
        picked = [(name, value) for name, value in headers if name in self._names]
        if not picked:
            return ()
        own = _of_the_connection(headers)
        return tuple(
            (name.decode(), value.decode("ascii"))
            for name, value in picked
            if name not in own and _is_text(value) and _is_sound(name, value)
        )


def beside(passed: Passed, configured: Collection[str]) -> Passed:
    """What is passed on to a backend that has headers of its own: those are the gateway's word, and stay alone.

    Args:
        configured: lower-case names of the backend's own headers.
    """
    return tuple(pair for pair in passed if pair[0] not in configured) if passed and configured else passed


def _of_the_connection(headers: Headers) -> frozenset[bytes]:
    """Headers that `Connection` names: they are for us alone, whatever a list says."""
    tokens = b",".join(value for name, value in headers if name == b"connection" and value not in _UNREMARKABLE)
    return frozenset(token.strip().lower() for token in tokens.split(b",")) if tokens else frozenset()


def _is_text(value: bytes) -> bool:
    return value.isascii() and value.decode("ascii").isprintable()


def _is_sound(name: bytes, value: bytes) -> bool:
    match name:
        case b"traceparent":
            return _TRACE_PARENT.fullmatch(value) is not None
        case b"tracestate":
            return len(value) <= _MOST_TRACE_STATE_BYTES
        case _:
            return True
