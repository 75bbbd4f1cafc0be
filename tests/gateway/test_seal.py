"""Ids of sessions are read by whoever has the key, and by the caller they were given to; anything else is no id."""

import base64
import json
import logging
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.gateway.seal import MAX_AGE_S, MAX_CAPABILITIES_BYTES, MAX_IDENT, KeyProblem, Seal
from vmcp.gateway.sessions import declared_in
from vmcp.gateway.settings import Refused, session_seal

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
VERSION = "2025-11-25"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
DECLARED = b'{"elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": true}, "sampling": {}}'


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def capabilities() -> st.SearchStrategy[dict[str, Any]]:
    plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=300)
    values = st.recursive(plain, lambda inner: st.dictionaries(st.text(max_size=20), inner, max_size=4), max_leaves=12)
    names = st.sampled_from(["sampling", "elicitation", "roots", "tasks", "experimental"]) | st.text(max_size=40)
    return st.dictionaries(names, values, max_size=12)


def test_an_id_says_what_the_session_began_with() -> None:
    ident = Seal([KEY], wall=lambda: 1_000.9).new("ann", VERSION, DECLARED)
    sealed = Seal([KEY], wall=lambda: 2_000.0).read(ident, "ann")
    assert sealed is not None
    assert (sealed.issued, sealed.version) == (1_000, VERSION)
    assert json.loads(sealed.capabilities) == json.loads(DECLARED)
    assert declared_in(sealed.capabilities) == {"elicitation", "roots", "sampling"}


@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    seal = Seal([KEY])
    ident = seal.new("ann", VERSION, b"{}")
    position = data.draw(st.integers(0, len(ident) - 1))
    other = data.draw(st.sampled_from(VISIBLE).filter(lambda one: one != ident[position]))
    assert seal.read(ident[:position] + other + ident[position + 1 :], "ann") is None


@given(st.data())
def test_any_id_cut_or_prolonged_is_refused(data: st.DataObject) -> None:
    seal = Seal([KEY])
    ident = seal.new("ann", VERSION, b"{}")
    cut = data.draw(st.integers(0, len(ident) - 1))
    more = data.draw(st.text(VISIBLE + " \0é", min_size=1, max_size=9))
    assert seal.read(ident[:cut], "ann") is None
    assert seal.read(ident[cut + 1 :], "ann") is None
    assert seal.read(ident + more, "ann") is None
    assert seal.read(more + ident, "ann") is None


@given(st.text())
def test_what_nobody_sealed_is_refused(ident: str) -> None:
    assert Seal([KEY]).read(ident, "ann") is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_id_is_good_for_the_caller_it_was_given_to(owner: str, caller: str) -> None:
    seal = Seal([KEY])
    assert (seal.read(seal.new(owner, VERSION, b"{}"), caller) is not None) == (owner == caller)


def test_another_key_neither_reads_nor_makes_ids() -> None:
    assert Seal([KEY]).read(Seal([OTHER_KEY]).new("ann", VERSION, b"{}"), "ann") is None
    assert Seal.of_this_process().read(Seal.of_this_process().new("ann", VERSION, b"{}"), "ann") is None


def test_a_key_is_replaced_while_clients_stay() -> None:
    before, after = Seal.of_text(text(KEY)), Seal.of_text(f"{text(OTHER_KEY)}, {text(KEY)}\n")
    assert after.read(before.new("ann", VERSION, b"{}"), "ann") is not None
    assert Seal.of_text(text(OTHER_KEY)).read(after.new("ann", VERSION, b"{}"), "ann") is not None
    assert before.read(after.new("ann", VERSION, b"{}"), "ann") is None


def test_an_old_id_is_refused() -> None:
    ident = Seal([KEY], wall=lambda: 1_000.0).new("ann", VERSION, b"{}")
    assert Seal([KEY], wall=lambda: 1_000 + MAX_AGE_S).read(ident, "ann") is not None
    assert Seal([KEY], wall=lambda: 1_001 + MAX_AGE_S).read(ident, "ann") is None


@given(capabilities())
def test_whatever_a_client_declares_its_id_is_short_and_visible_and_says_what_it_can_be_asked(
    declared: dict[str, Any],
) -> None:
    raw = json.dumps(declared, ensure_ascii=False).encode("utf-8", "replace")
    seal = Seal([KEY])
    ident = seal.new("ann", VERSION, raw)
    sealed = seal.read(ident, "ann")
    assert sealed is not None
    assert len(ident) <= MAX_IDENT
    assert set(ident) <= set(string.ascii_letters + string.digits + "-_")
    assert len(sealed.capabilities) <= MAX_CAPABILITIES_BYTES
    assert declared_in(sealed.capabilities) == declared_in(raw)


@pytest.mark.parametrize("size", [300, 5_000, 500_000])
def test_long_capabilities_leave_out_what_nobody_is_asked(size: int) -> None:
    raw = json.dumps({"experimental": {"x": "y" * size}, "roots": {"listChanged": True}}).encode()
    seal = Seal([KEY])
    sealed = seal.read(seal.new("ann", VERSION, raw), "ann")
    assert sealed is not None
    assert json.loads(sealed.capabilities) == {"roots": {"listChanged": True} if size < 4_000 else {}}


@pytest.mark.parametrize("bad", ["", " , ", "x", "not base64!", text(b"short"), f"{text(KEY)},{text(b'short')}"])
def test_what_is_no_key_is_refused_and_not_repeated(bad: str) -> None:
    with pytest.raises(KeyProblem) as refused:
        Seal.of_text(bad)
    assert not bad.strip(" ,") or bad not in str(refused.value)


@pytest.mark.parametrize(("environ", "level"), [({}, logging.INFO), ({"VMCP_NAME": "front"}, logging.WARNING)])
def test_without_a_key_the_log_says_that_sessions_end_with_the_process(
    environ: dict[str, str], level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        ident = session_seal(environ).new("ann", VERSION, b"{}")
    assert [(record.levelno, "sessions end with this process" in record.message) for record in caplog.records] == [
        (level, True)
    ]
    assert session_seal(environ).read(ident, "ann") is None


def test_the_key_is_the_one_of_the_secret() -> None:
    environ = {"VMCP_SESSION_HMAC_SECRET": text(KEY)}
    assert session_seal(environ).read(Seal([KEY]).new("ann", VERSION, b"{}"), "ann") is not None
    with pytest.raises(Refused, match="VMCP_SESSION_HMAC_SECRET: a key has 32 bytes"):
        session_seal({"VMCP_SESSION_HMAC_SECRET": "c2hvcnQ="})
