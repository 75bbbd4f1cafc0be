"""Letters between workers arrive whole, in order, with what they hand over; a full box says so."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import pytest
from tests.gateway.world import until

from vmcp.gateway.workers.mail import Boxes, Letter, Mail


@pytest.fixture
def pair() -> tuple[Mail, Mail]:
    boxes = Boxes(2)
    return Mail(boxes, 0), Mail(boxes, 1)


async def received(mail: Mail, count: int) -> list[tuple[Letter, socket.socket | None]]:
    letters: list[tuple[Letter, socket.socket | None]] = []
    task = asyncio.create_task(mail.run(lambda letter, given: letters.append((letter, given))))
    try:
        await until(lambda: len(letters) >= count)
    finally:
        task.cancel()
    return letters


async def test_letters_of_any_size_arrive_in_order(pair: tuple[Mail, Mail]) -> None:
    here, there = pair
    sizes = [0, 1, 16 * 1024, 16 * 1024 + 1, 5_000_000, 7]
    for size in sizes:
        assert here.post(1, "kind", b"x" * size)
    letters = await received(there, len(sizes))
    assert [len(letter.content) for letter, _ in letters] == sizes
    assert {(letter.kind, letter.sender) for letter, _ in letters} == {("kind", 0)}


@pytest.mark.parametrize("size", [0, 1_000_000])
async def test_a_socket_is_handed_over_and_stays_open(pair: tuple[Mail, Mail], size: int) -> None:
    here, there = pair
    ours, theirs = socket.socketpair()
    with ours:
        assert await here.send(1, "moved", b"x" * size, hand=theirs)
        theirs.close()
        ((letter, given),) = await received(there, 1)
        assert len(letter.content) == size
        assert given is not None
        with given:
            given.sendall(b"hello")
            assert ours.recv(5) == b"hello"


async def test_a_full_box_takes_no_more_and_makes_the_sender_wait(pair: tuple[Mail, Mail]) -> None:
    here, there = pair
    posted = 0
    while here.post(1, "kind", b"x" * 1_000):
        posted += 1
        assert posted < 100_000
    waiting = asyncio.create_task(here.send(1, "last"))
    letters = await received(there, posted + 1)
    assert await waiting
    assert letters[-1][0].kind == "last"


async def test_what_waits_in_a_box_is_read_by_whoever_takes_its_place() -> None:
    boxes = Boxes(2)
    Mail(boxes, 0).post(1, "kind", b"waits")
    ((letter, _),) = await received(Mail(boxes, 1), 1)
    assert letter.content == b"waits"


@contextlib.contextmanager
def room_for_open_files(count: int) -> Iterator[None]:
    """This process may open so many more."""
    taken = [os.open(os.devnull, os.O_RDONLY)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 10, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)


async def test_a_letter_that_there_is_no_open_file_for_is_lost_and_the_next_arrives(
    pair: tuple[Mail, Mail],
) -> None:
    here, there = pair
    letters: list[Letter] = []
    task = asyncio.create_task(there.run(lambda letter, given: letters.append(letter)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # One, for the socket or for what is beside the letter: not for both.
        assert here.post(1, "both", b"x" * 100_000, hand=theirs)
        with room_for_open_files(1):
            assert here.post(1, "plain")
            await until(lambda: letters)
        with room_for_open_files(0):
            assert not here.post(1, "large", b"x" * 100_000)
        assert here.post(1, "large", b"x" * 100_000)
        await until(lambda: len(letters) == 2)
    assert [letter.kind for letter in letters] == ["plain", "large"]
    assert not task.done()
    task.cancel()
