"""Sessions are unguessable, bounded, and gone when idle; what a client was not told yet waits for its stream."""

import asyncio

import pytest

from vmcp.gateway.changes import Changed, Changes, Listener
from vmcp.gateway.seal import Seal
from vmcp.gateway.sessions import ANONYMOUS, Sessions, TooManySessions

SEAL = Seal.of_this_process()


class Hands:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_idle_sessions_expire_and_used_ones_do_not() -> None:
    clock = Hands()
    sessions = Sessions(Changes(), seal=SEAL, idle_s=100, now=clock)
    used, idle = sessions.open("2025-11-25", identity=ANONYMOUS), sessions.open("2025-11-25", identity=ANONYMOUS)
    clock.seconds = 60
    assert sessions.get(used.ident, identity=ANONYMOUS) is used
    clock.seconds = 120
    sessions.sweep()
    assert len(sessions) == 1
    assert sessions.get(idle.ident, identity=ANONYMOUS) is None
    assert sessions.get(used.ident, identity=ANONYMOUS) is used


def test_an_expired_session_is_gone_before_the_sweep() -> None:
    clock = Hands()
    sessions = Sessions(Changes(), seal=SEAL, idle_s=100, now=clock)
    session = sessions.open("2025-11-25", identity=ANONYMOUS)
    clock.seconds = 101
    assert sessions.get(session.ident, identity=ANONYMOUS) is None
    assert len(sessions) == 0


def test_a_session_with_an_open_stream_never_expires() -> None:
    clock = Hands()
    sessions = Sessions(Changes(), seal=SEAL, idle_s=100, now=clock)
    session = sessions.open("2025-11-25", identity=ANONYMOUS)
    session.streams = 1
    clock.seconds = 1000
    sessions.sweep()
    assert sessions.get(session.ident, identity=ANONYMOUS) is session


def test_the_longest_idle_session_makes_room() -> None:
    sessions = Sessions(Changes(), seal=SEAL, limit=2)
    first, second = sessions.open("2025-11-25", identity=ANONYMOUS), sessions.open("2025-11-25", identity=ANONYMOUS)
    assert sessions.get(first.ident, identity=ANONYMOUS) is first
    third = sessions.open("2025-11-25", identity=ANONYMOUS)
    assert len(sessions) == 2
    assert sessions.get(first.ident, identity=ANONYMOUS) is first
    assert sessions.get(third.ident, identity=ANONYMOUS) is third
    assert sessions.get(second.ident, identity=ANONYMOUS) is not second


def test_no_busy_session_makes_room() -> None:
    sessions = Sessions(Changes(), seal=SEAL, limit=1)
    sessions.open("2025-11-25", identity=ANONYMOUS).streams = 1
    with pytest.raises(TooManySessions):
        sessions.open("2025-11-25", identity=ANONYMOUS)


def test_ids_are_long_and_differ() -> None:
    sessions = Sessions(Changes(), seal=SEAL)
    idents = {sessions.open("2025-11-25", identity=ANONYMOUS).ident for _ in range(1000)}
    assert len(idents) == 1000
    assert all(len(ident) >= 64 for ident in idents)


async def test_changes_wait_for_the_stream_and_are_told_once() -> None:
    changes = Changes()
    sessions = Sessions(changes, seal=SEAL)
    session = sessions.open("2025-11-25", identity=ANONYMOUS)
    for _ in range(3):
        changes.publish([Changed.TOOLS])
    changes.publish([Changed.PROMPTS])
    listener = sessions.take_over(session)
    assert await listener.next(5) == (Changed.PROMPTS, Changed.TOOLS)
    assert await listener.next(0.01) == ()


async def test_a_newer_stream_of_a_session_ends_the_older() -> None:
    changes = Changes()
    sessions = Sessions(changes, seal=SEAL)
    session = sessions.open("2025-11-25", identity=ANONYMOUS)
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
    sessions = Sessions(Changes(), seal=SEAL)
    session = sessions.open("2025-11-25", identity=ANONYMOUS)
    listener = sessions.take_over(session)
    assert sessions.close(session.ident, identity=ANONYMOUS)
    assert not sessions.close(session.ident, identity=ANONYMOUS)
    assert await listener.next(30) == ()
    assert listener.closed
