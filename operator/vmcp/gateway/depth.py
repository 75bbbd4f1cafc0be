"""How deep JSON nests, without decoding it: a backend may be less patient than we are."""

import re

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")


def deeper_than(body: bytes, limit: int) -> bool:
    """Whether objects and arrays nest deeper than `limit`. What is no JSON may give either answer."""
    # As a rule there are not even so many brackets, in strings and all: a call pays for two scans in C.
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    brackets = _STRING.sub(b"", body).translate(_AS_SQUARE, _ALL_BUT_BRACKETS)
    for _ in range(limit):
        if not brackets:
            return False
        before = len(brackets)
        # Takes away what is innermost, wherever it is.
        brackets = brackets.replace(b"[]", b"")
        if len(brackets) == before:
            return True
    return bool(brackets)
