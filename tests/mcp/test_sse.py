from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.mcp.sse import Event, EventParser, EventTooLong


def parsed(*pieces: bytes, limit: int = 10_000) -> list[Event]:
    parser = EventParser(limit=limit)
    return [event for piece in pieces for event in parser.feed(piece)]


def cut(data: bytes, borders: list[int]) -> list[bytes]:
    places = [0, *sorted(border % (len(data) + 1) for border in borders), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_line_ends_comments_and_keep_alives(end: bytes) -> None:
    lines = [
        b": ping",
        b"",
        b"event: message",
        b"data: {}",
        b"",
        b"id: 7",
        b"retry: 100",
        b"data:",
        b"",
        b"data:a",
        b"data: b",
    ]
    stream = end.join([*lines, b"", b""])
    # a lone CR at the very end may still become CRLF; it ends its line all the same
    assert parsed(stream) == [Event(b"{}"), Event(b"a\nb", id="7")]


def test_a_prime_event_is_not_reported_and_its_id_is_kept() -> None:
    assert parsed(b"id: 1\ndata:\n\ndata: x\n\n") == [Event(b"x", id="1")]


def test_an_unfinished_event_is_not_reported() -> None:
    assert parsed(b"data: x\n") == []


def test_a_byte_order_mark_is_skipped_wherever_it_is_cut() -> None:
    assert parsed(b"\xef", b"\xbb", b"\xbfdata: x\n\n") == [Event(b"x")]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 100, b"data: xxxxxxxxxx\n", b": " + b"x" * 100, b"data:\n"])
def test_an_event_without_an_end_is_an_error(piece: bytes) -> None:
    parser = EventParser(limit=50)
    with pytest.raises(EventTooLong):
        deque(map(parser.feed, [piece] * 100), maxlen=0)


_lines = st.lists(st.text("ab: é\t", max_size=8).map(lambda text: text.encode()), min_size=1, max_size=4)
_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(events=st.lists(_lines, max_size=5), end=_ends, borders=st.lists(st.integers(0, 10_000), max_size=12))
def test_borders_of_chunks_change_nothing(events: list[list[bytes]], end: bytes, borders: list[int]) -> None:
    stream = b"".join(b"".join(b"data: " + line + end for line in lines) + end for lines in events)
    expected = [Event(b"\n".join(lines)) for lines in events if b"\n".join(lines)]
    assert parsed(*cut(stream, borders)) == expected


@given(data=st.binary(max_size=300), borders=st.lists(st.integers(0, 300), max_size=10))
def test_any_bytes_parse_the_same_however_they_are_cut(data: bytes, borders: list[int]) -> None:
    assert parsed(*cut(data, borders)) == parsed(data) == parsed(*(bytes([byte]) for byte in data))
