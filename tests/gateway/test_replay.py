"""What streams carried is repeated without a gap, or not at all, within bounds."""

import re

from hypothesis import given
from hypothesis import strategies as st

from vmcp.gateway.replay import MAX_CHANNELS, MAX_SESSION_BYTES, Budget, Channel, Replay


def ident(event: bytes) -> str:
    found = re.match(rb"id: (\S+)\n", event)
    assert found is not None
    return found.group(1).decode()


def repeated(replay: Replay, after: str) -> list[bytes] | None:
    found = replay.find(after)
    return None if found is None else found[0].after(found[1])


def test_an_event_is_one_event_whatever_its_message_looks_like() -> None:
    event = Replay(Budget()).open().add(b'{"a":\r\n1,\n"b":"x"}')
    assert event == b'id: 1-1\nevent: message\ndata: {"a":  1, "b":"x"}\n\n'


def test_what_came_after_an_event_is_repeated_of_its_own_stream_only() -> None:
    replay = Replay(Budget())
    one, other = replay.open(), replay.open()
    first = one.add(b"1")
    other.add(b"x")
    rest = [one.add(b"2"), one.add(b"3")]
    assert repeated(replay, ident(first)) == rest
    assert repeated(replay, ident(one.prime())) == [first, *rest]


def test_a_stream_that_lost_an_event_is_not_repeated_with_a_gap() -> None:
    replay = Replay(Budget())
    channel = replay.open()
    first = channel.add(b"1")
    big = channel.add(b"x" * (MAX_SESSION_BYTES - 100))
    channel.add(b"y" * 200)
    assert repeated(replay, ident(first)) is None
    assert repeated(replay, ident(big)) is not None


def test_the_bytes_of_all_sessions_are_bounded_and_given_back() -> None:
    budget = Budget(1_000)
    sessions = [Replay(budget) for _ in range(4)]
    channels = [session.open() for session in sessions]
    events = [channel.add(b"x" * 300) for channel in channels]
    assert budget.left >= 0
    assert repeated(sessions[3], ident(channels[3].prime())) is None
    assert repeated(sessions[0], ident(channels[0].prime())) == [events[0]]
    for session in sessions:
        session.close()
    assert budget.left == 1_000


def test_streams_are_bounded_and_those_that_ended_make_room_first() -> None:
    replay = Replay(Budget())
    running = [replay.open() for _ in range(MAX_CHANNELS - 2)]
    ended = replay.open()
    ended.end()
    before = ended.add(b"1")
    replay.open()
    assert repeated(replay, ident(before)) is None
    assert repeated(replay, ident(running[0].add(b"1"))) == []
    assert repeated(replay, ident(replay.open().add(b"1"))) is None


@given(st.text(alphabet="0123456789-x٣ ", max_size=30))
def test_no_event_id_is_too_strange(text: str) -> None:
    replay = Replay(Budget())
    replay.open().add(b"1")
    repeated(replay, text)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(min_size=1, max_size=400)), max_size=60), st.integers(500, 5_000)
)
def test_a_repetition_is_what_was_sent(sent: list[tuple[int, bytes]], limit: int) -> None:
    budget = Budget(limit)
    replay = Replay(budget)
    channels: list[Channel] = [replay.open() for _ in range(4)]
    events: list[list[bytes]] = [[] for _ in channels]
    for number, message in sent:
        events[number].append(channels[number].add(message))
    for channel, all_of_it in zip(channels, events, strict=True):
        for position in range(len(all_of_it) + 1):
            rest = channel.after(position)
            assert rest is None or rest == all_of_it[position:]
        assert channel.after(len(all_of_it)) == []
        assert channel.after(len(all_of_it) + 1) is None
    replay.close()
    assert budget.left == limit


def test_what_is_said_after_the_end_of_a_session_takes_no_room() -> None:
    budget = Budget()
    replay = Replay(budget)
    channel = replay.open()
    channel.add(b"{}")
    replay.close()
    channel.add(b"{}")
    assert budget.left == Budget().left
