"""Several workers of one gateway: what each is given by their parent, and how they are started."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from vmcp.gateway.seal import Seal
from vmcp.gateway.serving import listen
from vmcp.gateway.settings import Refused
from vmcp.gateway.workers.mail import Boxes, Mail
from vmcp.gateway.workers.parent import Workers

MOST: Final = 64
REFUSED_EXIT: Final = 2
SIGN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is given.

    Attributes:
        listening: the socket that it accepts connections from.
        seal: makes session ids that the others can read.
        mail: to and from the others.
        parent: descriptor of the socket that leads to the parent.
    """

    listening: socket.socket
    seal: Seal
    mail: Mail
    parent: int

    def stop_with_parent(self, stopping: asyncio.Event) -> None:
        """Stop when the parent is gone: nobody would start a dead worker again, and the port stays taken."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self.parent)
            stopping.set()

        loop.add_reader(self.parent, gone)

    async def show_life(self) -> None:
        """Tell the parent that the loop turns, until cancelled."""
        sign = bytes((self.mail.index,))
        while True:
            # Full where the parent stands still, closed where it is gone.
            with contextlib.suppress(BlockingIOError, ConnectionError):
                os.write(self.parent, sign)
            await asyncio.sleep(SIGN_S)


def run_workers(
    host: str, port: int, count: int, seal: Seal, serve: Callable[[Place], Coroutine[Any, Any, None]]
) -> int:
    """Run that many workers until the signal to stop; the exit status.

    Raises:
        Refused: this system has no sockets for them to speak over.
        OSError: the port cannot be listened on.
    """
    if not hasattr(os, "memfd_create"):
        raise Refused("--workers: more than one needs Linux; leave it at 1")
    # Whoever else listens there would share the port with us, and nobody would notice.
    with listen(host, port) as alone:
        port = alone.getsockname()[1]
    # A socket each: the kernel then deals connections out evenly. Of one that all share, whoever is awake takes most.
    sockets = [listen(host, port, shared=True) for _ in range(count)]
    boxes = Boxes(count)

    def work(index: int, parent: int) -> int:
        for other, listening in enumerate(sockets):
            if other != index:
                listening.close()
        try:
            uvloop.run(serve(Place(sockets[index], seal, Mail(boxes, index), parent)))
        except Refused as refused:
            sys.stderr.write(f"vmcp serve: worker {index}: {refused}\n")
            return REFUSED_EXIT
        return 0

    def stopping() -> None:
        for listening in sockets:
            listening.close()

    return Workers(count, work, stopping=stopping, fatal=REFUSED_EXIT).run()
