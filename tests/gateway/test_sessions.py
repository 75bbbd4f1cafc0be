"""Sessions are unguessable, bounded, and gone when idle; what a client was not told yet waits for its stream."""

import asyncio

import pytest

from vmcp.gateway.changes import Changed, Changes, Listener
from vmcp.gateway.sessions import Sessions, TooManySessions


class Hands:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_idle_sessions_expire_and_used_ones_do_not() -> None:
    clock = Hands()
    sessions = Sessions(Changes(), idle_s=100, now=clock)
    used, idle = sessions.open("2025-11-25"), sessions.open("2025-11-25")
    clock.seconds = 60
    assert sessions.get(used.ident) is used
    clock.seconds = 120
    sessions.sweep()
    assert len(sessions) == 1
    assert sessions.get(idle.ident) is None
    assert sessions.get(used.ident) is used


def test_an_expired_session_is_gone_before_the_sweep() -> None:
    clock = Hands()
    sessions = Sessions(Changes(), idle_s=100, now=clock)
    session = sessions.open("2025-11-25")
    clock.seconds = 101
    assert sessions.get(session.ident) is None
    assert len(sessions) == 0


def test_a_session_with_an_open_stream_never_expires() -> None:
    clock = Hands()
    sessions = Sessions(Changes(), idle_s=100, now=clock)
    session = sessions.open("2025-11-25")
    session.streams = 1
    clock.seconds = 1000
    sessions.sweep()
    assert sessions.get(session.ident) is session


def test_the_longest_idle_session_makes_room() -> None:
    sessions = Sessions(Changes(), limit=2)
    first, second = sessions.open("2025-11-25"), sessions.open("2025-11-25")
    assert sessions.get(first.ident) is first
    third = sessions.open("2025-11-25")
    assert sessions.get(second.ident) is None
    assert sessions.get(first.ident) is first
    assert sessions.get(third.ident) is third


def test_no_busy_session_makes_room() -> None:
    sessions = Sessions(Changes(), limit=1)
    sessions.open("2025-11-25").streams = 1
    with pytest.raises(TooManySessions):
        sessions.open("2025-11-25")


def test_ids_are_long_and_differ() -> None:
    sessions = Sessions(Changes())
    idents = {sessions.open("2025-11-25").ident for _ in range(1000)}
    assert len(idents) == 1000
    assert all(len(ident) == 32 for ident in idents)


async def test_changes_wait_for_the_stream_and_are_told_once() -> None:
    changes = Changes()
    sessions = Sessions(changes)
    session = sessions.open("2025-11-25")
    for _ in range(3):
        changes.publish([Changed.TOOLS])
    changes.publish([Changed.PROMPTS])
    listener = sessions.take_over(session)
    assert await listener.next(5) == (Changed.PROMPTS, Changed.TOOLS)
    assert await listener.next(0.01) == ()


async def test_a_newer_stream_of_a_session_ends_the_older() -> None:
    changes = Changes()
    sessions = Sessions(changes)
    session = sessions.open("2025-11-25")
    older = sessions.take_over(session)
    waiting = asyncio.ensure_future(older.next(30))
    await asyncio.sleep(0)
    newer = sessions.take_over(session)
    assert await waiting == ()
    assert older.closed
    changes.publish([Changed.TOOLS])
    assert await newer.next(5) == (Changed.TOOLS,)


async def test_a_listener_hears_only_what_it_asked_for() -> None:
    changes = Changes()
    listener = Listener([Changed.PROMPTS])
    changes.add(listener)
    changes.publish([Changed.TOOLS, Changed.RESOURCES])
    assert await listener.next(0.01) == ()
    changes.publish([Changed.TOOLS, Changed.PROMPTS])
    assert await listener.next(5) == (Changed.PROMPTS,)
    changes.remove(listener)
    changes.publish([Changed.PROMPTS])
    assert await listener.next(0.01) == ()


async def test_ending_a_session_ends_its_stream() -> None:
    sessions = Sessions(Changes())
    session = sessions.open("2025-11-25")
    listener = sessions.take_over(session)
    assert sessions.close(session.ident)
    assert not sessions.close(session.ident)
    assert await listener.next(30) == ()
    assert listener.closed
