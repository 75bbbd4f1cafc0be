"""`Mcp-Param-` headers: arguments of a call that Modern wants to see outside of the body too."""

import base64
import binascii
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from vmcp.mcp.modern import header_text as encoded

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


def param_headers(params: Iterable[tuple[str, str]], fields: Mapping[str, Raw]) -> tuple[tuple[str, str], ...]:
    """The headers of a call to a Modern backend.

    Args:
        params: (header, argument) of the tool.
        fields: params of the call.
    """
    arguments = _arguments(fields)
    return tuple(
        (header, encoded(text)) for header, argument in params if (text := _text(arguments.get(argument))) is not None
    )


def param_mismatch(params: Iterable[tuple[str, str]], fields: Mapping[str, Raw], headers: Mapping[bytes, bytes]) -> str:
    """What is wrong with the headers of a Modern client's call, empty when they say what its arguments say."""
    arguments = _arguments(fields)
    for header, argument in params:
        said = headers.get(header.lower().encode("latin-1", "replace"))
        text = _text(arguments.get(argument))
        if (None if said is None else header_text(said)) != text or (said is not None and text is None):
            return f"the header {header} must equal the argument {argument!r}"
    return ""


def header_text(value: bytes) -> str | None:
    """What a header says, plain or in Base64 as Modern writes it; None where that is no UTF-8."""
    text = value.decode("latin-1").strip(" \t")
    if text.startswith("=?base64?") and text.endswith("?="):
        try:
            return base64.b64decode(text[len("=?base64?") : -len("?=")], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    return text


def _arguments(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    try:
        return _fields_of(fields["arguments"])
    except (KeyError, msgspec.MsgspecError):
        return {}


def _text(raw: Raw | None) -> str | None:
    if raw is None or bytes(raw) == b"null":
        return None
    text = bytes(raw)
    # A number that is none for us, such as 1e999, is still its text.
    return msgspec.json.decode(text, type=str) if text[:1] == b'"' else text.decode()
