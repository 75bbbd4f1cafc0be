"""What the workers of one gateway say to each other: datagrams, each with sockets to hand over where need be.

The parent makes a box for each worker before it forks; every worker inherits the openings of all, and its own inside. A
box is bounded by the kernel, and what waits in it outlives its worker: the one that takes its place reads it.
"""

import asyncio
import errno
import logging
import mmap
import os
import socket
from collections.abc import Callable
from typing import Final

import msgspec

log = logging.getLogger(__name__)

SEND_S: Final = 5.0
"""A box that is full for longer is that of a worker that does not work."""
_RETRY_S: Final = 0.01
_INLINE_BYTES: Final = 16 * 1024
"""What is longer goes beside the datagram, in memory of its own."""
_MOST_BYTES: Final = 64 * 1024
_MOST_SOCKETS: Final = 2
_BURST: Final = 64
_NO_ROOM: Final = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)


class Letter(msgspec.Struct, array_like=True, frozen=True):
    """One message.

    Attributes:
        kind: what it is about.
        sender: number of the worker that wrote it.
        hands: a socket comes with it.
        beside: the content does, too.
    """

    kind: str
    sender: int
    content: bytes = b""
    hands: bool = False
    beside: bool = False


Deliver = Callable[[Letter, socket.socket | None], None]
"""Takes a letter; whoever takes the socket owns it."""

_decode = msgspec.msgpack.Decoder(Letter).decode


class Boxes:
    """A box for each worker, and a file that outlives whoever writes it. Made by the parent, before it forks.

    Raises:
        OSError: this system has no such sockets.
    """

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
        self.openings = [opening for opening, _ in pairs]
        self.insides = [inside for _, inside in pairs]
        for each in (*self.openings, *self.insides):
            each.setblocking(False)
        self.record = os.memfd_create("vmcp-record", os.MFD_CLOEXEC)


class Mail:
    """The mail of one worker.

    Attributes:
        index: its number.
        others: the numbers of the others.
    """

    def __init__(self, boxes: Boxes, index: int) -> None:
        self.index = index
        self.others = [other for other in range(len(boxes.openings)) if other != index]
        self._openings = boxes.openings
        self._inside = boxes.insides[index]
        self._record = boxes.record

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self._openings)

    def post(self, to: int, kind: str, content: bytes = b"", *, hand: socket.socket | None = None) -> bool:
        """Send now; False where the box is full, or the kernel has no room for it or for what comes with it.

        A socket that is handed over stays open here.
        """
        beside = None
        try:
            if len(content) > _INLINE_BYTES:
                beside, content = _in_memory(content), b""
            descriptors = [] if hand is None else [hand.fileno()]
            if beside is not None:
                descriptors.append(beside)
            letter = Letter(kind, self.index, content, hand is not None, beside is not None)
            socket.send_fds(self._openings[to], [msgspec.msgpack.encode(letter)], descriptors)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return False
        finally:
            if beside is not None:
                os.close(beside)
        return True

    async def send(self, to: int, kind: str, content: bytes = b"", *, hand: socket.socket | None = None) -> bool:
        """As `post`, but wait for room in the box, `SEND_S` seconds at most."""
        try:
            async with asyncio.timeout(SEND_S):
                while not self.post(to, kind, content, hand=hand):  # noqa: ASYNC110 - no event tells of room
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            return False
        return True

    def keep(self, record: bytes) -> None:
        """Have this in place of what was kept, for whoever takes this worker's place. One worker does so."""
        os.ftruncate(self._record, 0)
        os.pwrite(self._record, record, 0)

    def kept(self) -> bytes:
        """What was kept last; part of it where the worker died over it."""
        return os.pread(self._record, os.fstat(self._record).st_size, 0)

    async def run(self, deliver: Deliver) -> None:
        """Deliver what comes until cancelled."""
        loop = asyncio.get_running_loop()
        failed: asyncio.Future[None] = loop.create_future()

        def readable() -> None:
            try:
                self._read(deliver)
            except Exception as error:
                if not failed.done():
                    failed.set_exception(error)

        loop.add_reader(self._inside, readable)
        try:
            await failed
        finally:
            loop.remove_reader(self._inside)

    def _read(self, deliver: Deliver) -> None:
        for _ in range(_BURST):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._inside, _MOST_BYTES, _MOST_SOCKETS)
            except BlockingIOError:
                return
            letter = _decode(data)
            if len(descriptors) < letter.hands + letter.beside:
                log.error("a letter of worker %d was lost (%s): too many open files", letter.sender, letter.kind)
                for descriptor in descriptors:
                    os.close(descriptor)
                continue
            try:
                if letter.beside:
                    letter = msgspec.structs.replace(letter, content=_out_of_memory(descriptors.pop()))
                given = socket.socket(fileno=descriptors.pop()) if letter.hands else None
                deliver(letter, given)
            except Exception:
                log.exception("a letter of worker %d could not be taken (%s)", letter.sender, letter.kind)


def _in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("vmcp-letter", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor


def _out_of_memory(descriptor: int) -> bytes:
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as content:
            return content[:]
    finally:
        os.close(descriptor)
