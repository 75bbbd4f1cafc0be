"""How deep JSON nests is known without decoding it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vmcp.gateway.depth import deeper_than

values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(values, st.integers(0, 8))
def test_it_is_the_depth_of_the_value(value: Any, limit: int) -> None:
    for indent in (None, 1):
        assert deeper_than(json.dumps(value, indent=indent).encode(), limit) is (depth(value) > limit)


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_can_be_judged(body: bytes, limit: int) -> None:
    deeper_than(body, limit)


def test_a_flat_body_of_many_brackets_is_not_deep_and_a_tower_is() -> None:
    assert not deeper_than(b"[" + b",".join([b"{}"] * 100_000) + b"]", 2)
    for size in (101, 900, 200_000):
        assert deeper_than(b"[" * size + b"]" * size, 100)
    assert not deeper_than(b"[" * 500, 100)
