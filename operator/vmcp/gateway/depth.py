"""How deep JSON nests, without decoding it: a backend may be less patient than we are."""

from itertools import accumulate

import msgspec

_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_AT_ONCE_BYTES = 64 * 1024


def deeper_than(body: bytes, limit: int) -> bool:
    """Whether objects and arrays nest deeper than `limit`; False where it is no JSON.

    The time is linear in the size, whatever the content.
    """
    # As a rule there are not even so many brackets, in strings and all: a call pays for a few searches in C.
    if not _has_more_than(limit, body):
        return False
    try:
        # What is no JSON is refused anyway, and could be made to cost more than any JSON.
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    except RecursionError:
        return True
    # An escaped quote ends no string; every second piece between the others is one.
    pieces = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    steps = b"".join(pieces[::2]).translate(_STEPS, _ALL_BUT_BRACKETS)
    depth = 0
    for start in range(0, len(steps), _AT_ONCE_BYTES):
        depths = list(accumulate(memoryview(steps[start : start + _AT_ONCE_BYTES]).cast("b"), initial=depth))
        if max(depths) > limit:
            return True
        depth = depths[-1]
    return False


def _has_more_than(limit: int, body: bytes) -> bool:
    find = body.find
    for opening in (b"{", b"["):
        position = find(opening)
        while position >= 0:
            if not limit:
                return True
            limit -= 1
            position = find(opening, position + 1)
    return False
