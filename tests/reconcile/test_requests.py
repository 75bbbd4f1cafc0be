"""Annotations that ask for one-off acts: what is understood, what was done already, what is kept of it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.api.status import HandledRequest, RequestAction
from vmcp.reconcile.requests import Request, finding, outstanding, remembered, requests_of

RESET, PROBE = "toolhive.stacklok.dev/reset", "toolhive.stacklok.dev/probe-now"
MOMENT = datetime(2026, 11, 24, tzinfo=UTC)


def done(request: Request) -> HandledRequest:
    return HandledRequest(action=request.action, backend=request.backend, token=request.token, time=MOMENT)


def reset(number: int) -> Request:
    return Request(RequestAction.RESET, "search", str(number))


def test_both_annotations_and_lists_are_understood() -> None:
    asked, malformed = requests_of({RESET: "search@1, notes@2026-11-24T10:00:00Z", PROBE: "*@x", "other": "a@b"})
    assert malformed == []
    assert asked == [
        Request(RequestAction.RESET, "search", "1"),
        Request(RequestAction.RESET, "notes", "2026-11-24T10:00:00Z"),
        Request(RequestAction.PROBE_NOW, "*", "x"),
    ]


@pytest.mark.parametrize("value", ["search", "@1", "search@", "search@ 1 2", "search@" + "x" * 65])
def test_what_is_malformed_is_named_and_does_not_hide_the_rest(value: str) -> None:
    asked, malformed = requests_of({RESET: f"{value},notes@1"})
    assert asked == [Request(RequestAction.RESET, "notes", "1")]
    assert len(malformed) == 1
    assert "is not <backend>@<token>" in malformed[0]
    told = finding(asked, malformed, [])
    assert told is not None
    assert (told.status, told.reason) == (False, "RequestsMalformed")


def test_a_token_is_handled_once_and_another_asks_again() -> None:
    handled = [done(reset(1))]
    assert outstanding([reset(1)], handled) == []
    assert outstanding([reset(2)], handled) == [reset(2)]
    assert outstanding([Request(RequestAction.PROBE_NOW, "search", "1")], handled) != []


def test_a_backend_that_does_not_exist_is_named() -> None:
    told = finding([reset(1)], [], [reset(1)])
    assert told is not None
    assert not told.status
    assert "there is no backend 'search'" in told.message


def test_without_annotations_there_is_no_condition() -> None:
    assert finding([], [], []) is None


@given(st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=12))
def test_however_annotations_change_nothing_that_stands_in_them_is_done_twice(rounds: list[list[int]]) -> None:
    handled: tuple[HandledRequest, ...] = ()
    before: set[Request] = set()
    for numbers in rounds:
        asked, _ = requests_of({RESET: ",".join(f"search@{number}" for number in numbers)})
        fresh = outstanding(asked, handled)
        assert not before & set(fresh)
        handled = remembered(asked, [*handled, *map(done, fresh)])
        assert len(handled) <= 20
        before = set(asked)
        assert outstanding(asked, handled) == []
