"""What is shared between kept objects."""

import json

from hypothesis import given
from hypothesis import strategies as st

from vmcp.kube.sharing import shared

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=40), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_the_value_is_equal_and_its_own(value: object) -> None:
    made = shared(value)
    assert made == value
    if isinstance(value, dict | list):
        assert made is not value


def test_two_decoded_objects_have_names_and_short_values_in_common() -> None:
    text = json.dumps({"metadata": {"labels": {"app": "virtual mcp"}}})
    first, second = (shared(json.loads(text))["metadata"]["labels"] for _ in range(2))
    assert next(iter(first)) is next(iter(second))
    assert first["app"] is second["app"]
