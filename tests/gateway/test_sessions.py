"""Sessions are unguessable, bounded, and gone when idle; what a client was not told yet waits for its stream."""

import asyncio
import tracemalloc

import pytest

from vmcp.gateway.changes import Changed, Changes, Listener
from vmcp.gateway.seal import Seal
from vmcp.gateway.sessions import ANONYMOUS, MAX_ENDED, Sessions, TooManySessions

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


def test_an_idle_session_makes_room_however_many_busy_ones_are_older() -> None:
    sessions = Sessions(Changes(), seal=SEAL, limit=1_000)
    for _ in range(998):
        sessions.open("2025-11-25", identity=ANONYMOUS).streams = 1
    idle = [sessions.open("2025-11-25", identity=ANONYMOUS).ident for _ in range(2)]
    for ident in idle:
        sessions.open("2025-11-25", identity=ANONYMOUS).streams = 1
        assert sessions.held(ident) is None
    with pytest.raises(TooManySessions):
        sessions.open("2025-11-25", identity=ANONYMOUS)


def test_ids_are_long_and_differ() -> None:
    sessions = Sessions(Changes(), seal=SEAL)
    idents = {sessions.open("2025-11-25", identity=ANONYMOUS).ident for _ in range(1000)}
    assert len(idents) == 1000
    assert all(len(ident) >= 64 for ident in idents)


async def test_a_session_begins_anew_where_another_process_began_it() -> None:
    here, there = Sessions(Changes(), seal=SEAL), Sessions(Changes(), seal=SEAL)
    began = there.open("2025-03-26", b'{"sampling":{}}', identity="ann")
    session = here.get(began.ident, identity="ann")
    assert session is not None
    assert here.get(began.ident, identity="ann") is session
    assert (session.ident, session.version, session.declared) == (began.ident, "2025-03-26", {"sampling"})
    # What changed since it was told of anything, nobody knows.
    assert await here.take_over(session).next(5) == tuple(sorted(Changed))
    # The numbers of its streams' events are others than there.
    assert here.get(began.ident, identity="ann") is session
    assert session.open_channel().number != began.open_channel().number


def test_a_session_is_its_callers_alone_wherever_it_is() -> None:
    here, there = Sessions(Changes(), seal=SEAL), Sessions(Changes(), seal=SEAL)
    session = there.open("2025-11-25", identity="ann")
    for sessions in (here, there):
        assert sessions.get(session.ident, identity="bob") is None
        assert not sessions.close(session.ident, identity="bob")
        assert sessions.get(session.ident, identity="ann") is not None


def test_what_ended_does_not_begin_anew() -> None:
    clock = Hands()
    sessions, there = Sessions(Changes(), seal=SEAL, idle_s=100, now=clock), Sessions(Changes(), seal=SEAL)
    ended, idle, swept, foreign = (
        owner.open("2025-11-25", identity=ANONYMOUS).ident for owner in (sessions, sessions, sessions, there)
    )
    assert sessions.close(ended, identity=ANONYMOUS)
    assert sessions.close(foreign, identity=ANONYMOUS)
    clock.seconds = 101
    assert sessions.get(idle, identity=ANONYMOUS) is None
    sessions.sweep()
    for ident in (ended, idle, swept, foreign):
        assert sessions.get(ident, identity=ANONYMOUS) is None
        assert not sessions.close(ident, identity=ANONYMOUS)
    assert len(sessions) == 0


def test_a_session_that_is_idle_here_may_be_in_use_at_another_replica() -> None:
    clock, ended, parted = Hands(), list[str](), list[str]()
    sessions = Sessions(
        Changes(), seal=SEAL, idle_s=100, limit=2, now=clock, ended=lambda session: ended.append(session.ident)
    )
    sessions.parted = lambda session: parted.append(session.ident)
    first, second = (sessions.open("2025-11-25", identity=ANONYMOUS).ident for _ in range(2))
    third = sessions.open("2025-11-25", identity=ANONYMOUS).ident
    assert (ended, parted) == ([], [first])
    clock.seconds = 101
    assert sessions.get(second, identity=ANONYMOUS) is None
    sessions.sweep()
    assert (ended, parted) == ([], [first, second, third])
    # The caller asks the others before it begins anew; only what the client has ended is gone.
    assert sessions.get(second, identity=ANONYMOUS, anew=False) is None
    assert sessions.get(second, identity=ANONYMOUS) is not None
    assert sessions.close(second, identity=ANONYMOUS)
    assert ended == [second]
    sessions.ended_elsewhere(first)
    assert not sessions.is_good(first, identity=ANONYMOUS)


def test_ids_that_a_worker_makes_lead_to_it() -> None:
    sessions = Sessions(Changes(), seal=SEAL, is_here=lambda ident: ident[0] in "ABCDEFGHIJKLMNOP")
    assert all(sessions.open("2025-11-25", identity=ANONYMOUS).ident[0] < "Q" for _ in range(20))


def test_no_busy_session_makes_room_for_one_of_another_process() -> None:
    sessions, there = Sessions(Changes(), seal=SEAL, limit=1), Sessions(Changes(), seal=SEAL)
    sessions.open("2025-11-25", identity=ANONYMOUS).streams = 1
    with pytest.raises(TooManySessions):
        sessions.get(there.open("2025-11-25", identity=ANONYMOUS).ident, identity=ANONYMOUS)


def test_sessions_and_what_is_remembered_of_them_are_small() -> None:
    sessions = Sessions(Changes(), seal=SEAL)
    tracemalloc.start()
    try:
        idents = [sessions.open("2025-11-25", b'{"sampling":{}}', identity=ANONYMOUS).ident for _ in range(1_000)]
        assert tracemalloc.get_traced_memory()[0] < 10_000_000
        for ident in idents:
            sessions.close(ident, identity=ANONYMOUS)
        assert tracemalloc.get_traced_memory()[0] * MAX_ENDED / 1_000 < 30_000_000
    finally:
        tracemalloc.stop()


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
