"""Letters between workers arrive whole, in order, with what they hand over; a full box says so."""

import asyncio
import socket

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
