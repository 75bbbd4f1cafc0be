"""Arguments in headers: what we send can be read back, and what differs from the body is noticed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from vmcp.gateway.params import header_text, param_headers, param_mismatch

PARAMS = (("Mcp-Param-Region", "region"),)


def fields(**arguments: object) -> dict[str, Raw]:
    return {"arguments": Raw(msgspec.json.encode(arguments))}


@given(st.one_of(st.text(max_size=40), st.integers(-(2**53), 2**53), st.booleans()))
def test_what_is_sent_says_what_the_body_says(value: object) -> None:
    call = fields(region=value)
    ((name, text),) = param_headers(PARAMS, call)
    assert text.isascii()
    assert text.isprintable()
    assert param_mismatch(PARAMS, call, {name.lower().encode(): text.encode()}) == ""


@pytest.mark.parametrize(
    ("arguments", "said", "fits"),
    [
        ({"region": "eu"}, b"eu", True),
        ({"region": "eu"}, b" eu\t", True),
        ({"region": "eu"}, b"=?base64?ZXU=?=", True),
        ({"region": "eu"}, b"=?base64?ZXU?=", False),
        ({"region": "eu"}, b"us", False),
        ({"region": "eu"}, None, False),
        ({"region": None}, None, True),
        ({"region": None}, b"eu", False),
        ({}, None, True),
        ({}, b"=?base64?!?=", False),
        ({"region": 7}, b"7", True),
        ({"region": True}, b"true", True),
    ],
)
def test_header_and_body_are_compared(arguments: dict[str, object], said: bytes | None, fits: bool) -> None:
    headers = {} if said is None else {b"mcp-param-region": said}
    assert (param_mismatch(PARAMS, fields(**arguments), headers) == "") is fits


def test_a_number_that_no_float_holds_is_compared_as_it_is_written() -> None:
    call = {"arguments": Raw(b'{"region":1e999}')}
    assert param_mismatch(PARAMS, call, {b"mcp-param-region": b"1e999"}) == ""
    assert param_mismatch(PARAMS, call, {b"mcp-param-region": b"1e9"})


def test_a_header_that_is_no_text_says_nothing() -> None:
    assert header_text(b"=?base64?/w==?=") is None
