"""Taking a stream apart into lines."""

from hypothesis import given
from hypothesis import strategies as st

from vmcp.stdio.lines import Lines, TooLong

LIMIT = 20


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=20), st.data())
def test_lines_are_the_same_wherever_chunks_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    collected = Lines(limit=LIMIT)
    found: list[bytes | TooLong] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += collected.feed(stream[start:end])
    assert len(found) == len(lines)
    for line, taken in zip(lines, found, strict=True):
        if len(line) <= LIMIT:
            assert taken == line
        else:
            assert isinstance(taken, TooLong)
            assert line.startswith(taken.head)
            assert line.endswith(taken.tail)


def test_of_a_line_that_is_too_long_only_its_ends_are_kept() -> None:
    collected = Lines(limit=1000)
    for _ in range(1000):
        assert list(collected.feed(b"x" * 1000)) == []
    (line,) = collected.feed(b"the end\nnext")
    assert isinstance(line, TooLong)
    assert line.head == b"x" * 256
    assert line.tail.endswith(b"the end")
    assert list(collected.feed(b" line\n")) == [b"next line"]
