"""A report in a Lease is a pod's word: within its bounds, or none."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.api.passive import MOST_BACKENDS, MOST_CHARACTERS, PassiveReport, Sighting, dump_report, load_report

NOW = datetime(2026, 11, 24, 12, 0, 0, 123000, tzinfo=UTC)
SIGHTING = {"name": "a", "fingerprint": "f", "failures": 3}


def text(**changes: Any) -> str:
    return json.dumps({"replica": "r", "time": "2026-11-24T12:00:00.123Z", "backends": [SIGHTING]} | changes)


@given(
    st.lists(
        st.builds(
            Sighting,
            name=st.text(min_size=1, max_size=253),
            fingerprint=st.text(max_size=64),
            failures=st.integers(0, 1_000_000),
            reached_seconds_ago=st.none() | st.floats(0, 3600),
        ),
        max_size=MOST_BACKENDS,
    )
)
def test_what_a_gateway_writes_is_read_as_it_was_meant(backends: list[Sighting]) -> None:
    report = PassiveReport(replica="front-7d-x", time=NOW, backends=backends)
    written = dump_report(report)
    assert load_report(written) == (report if len(written) <= MOST_CHARACTERS else None)


def test_the_most_that_names_of_kubernetes_can_make_fits() -> None:
    sighting = Sighting(name="n" * 253, fingerprint="f" * 64, failures=1_000_000, reached_seconds_ago=3599.999)
    report = PassiveReport(replica="r" * 253, time=NOW, backends=[sighting] * MOST_BACKENDS)
    assert load_report(dump_report(report)) == report


@given(st.text() | st.binary() | st.none() | st.integers())
def test_nothing_that_is_written_there_raises(anything: object) -> None:
    assert load_report(anything) is None


@pytest.mark.parametrize(
    "wrong",
    [
        text(backends=[SIGHTING] * (MOST_BACKENDS + 1)),
        text(backends=[SIGHTING | {"name": ""}]),
        text(backends=[SIGHTING | {"name": "x" * 254}]),
        text(backends=[SIGHTING | {"fingerprint": "x" * 65}]),
        text(backends=[SIGHTING | {"failures": -1}]),
        text(backends=[SIGHTING | {"failures": 10**400}]),
        text(backends=[SIGHTING | {"reachedSecondsAgo": -1}]),
        text(backends=[SIGHTING | {"reachedSecondsAgo": float("nan")}]),
        text(backends=[SIGHTING | {"reachedSecondsAgo": float("inf")}]),
        text(backends=[SIGHTING | {"reachedSecondsAgo": 1e9}]),
        text(backends={}),
        text(time="yesterday"),
        text(time=10**400),
        text(replica="x" * 254),
        text(padding="x" * MOST_CHARACTERS),
        "[" * (MOST_CHARACTERS - 1),
        "[]",
        "null",
    ],
)
def test_what_is_out_of_bounds_is_no_report(wrong: str) -> None:
    assert load_report(text()) is not None
    assert load_report(wrong) is None
