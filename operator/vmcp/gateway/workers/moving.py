"""A client's connection goes to the worker that holds what the request is for.

A session lives in one worker, and so does a call that is held open for a Modern client; the kernel gives a connection
to any of them. So the first request that is another worker's goes there with its connection, and whatever follows on it
is at the right place already: nobody relays answers, and streams, cancellation and resumption are as with one worker.

Which worker a session is in can be seen from its id: whoever makes one picks an id that leads to himself.
"""

import asyncio
import logging
import re
import socket
import zlib
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Protocol

from vmcp.gateway.answer import Headers
from vmcp.gateway.held import STATE_PREFIX
from vmcp.gateway.shortway import CONNECTION
from vmcp.gateway.workers.mail import Letter, Mail

log = logging.getLogger(__name__)

MOVED: Final = "moved"
"""Kind of the letters that bring a connection; their content is the request."""
_DECIDES: Final = 16
"""So many characters of an id say where its session is; they are random."""
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"expect"))
_MARK: Final = STATE_PREFIX.encode()
_HELD: Final = re.compile(rb'"requestState"\s*:\s*"' + re.escape(_MARK) + rb"(\d{1,4})\.")


class Movable(Protocol):
    """A connection that a request came on."""

    def give_away(self) -> socket.socket | None:
        """The client's socket, for somebody else to answer the request under way; None where that is not possible."""


class Moving:
    """Sends connections away.

    Args:
        stopping: nothing is sent away any more: the others stop, too.
    """

    def __init__(self, mail: Mail, *, stopping: Callable[[], bool]) -> None:
        self._mail = mail
        self._stopping = stopping

    def is_here(self, ident: str) -> bool:
        """Whether the session of this id is in this worker."""
        return self._worker_of(ident) == self._mail.index

    async def moved(self, scope: MutableMapping[str, Any], headers: Headers, body: bytes, session_id: str) -> bool:
        """Bring the request to where it belongs, with its connection; False = it belongs, or must stay, here."""
        to = self._worker_of(session_id) if session_id else _holder_of(body)
        if to is None or to == self._mail.index or to >= self._mail.count or self._stopping():
            return False
        connection: Movable | None = scope.get("extensions", {}).get(CONNECTION)
        given = None if connection is None else connection.give_away()
        if given is None:
            return False
        with given:
            if not await self._mail.send(to, MOVED, _request(scope, headers, body), hand=given):
                log.error("worker %d takes no connections: one was closed", to)
        return True

    def _worker_of(self, ident: str) -> int:
        return zlib.crc32(ident[:_DECIDES].encode("utf-8", "replace")) % self._mail.count


class Arrivals:
    """Takes connections that others send here.

    Args:
        protocol: makes the protocol of a connection whose first bytes were read already.
        tasks: owns connections until they have begun.
    """

    def __init__(self, protocol: Callable[[bytes], asyncio.Protocol], tasks: asyncio.TaskGroup) -> None:
        self._protocol = protocol
        self._tasks = tasks

    def take(self, letter: Letter, given: socket.socket) -> None:
        """Go on with the connection."""
        self._tasks.create_task(self._take(letter.content, given))

    async def _take(self, first: bytes, given: socket.socket) -> None:
        given.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self._protocol(first), given)
        except OSError as error:
            # The client has left in between.
            log.debug("a connection could not be taken over: %s", error.strerror)
            given.close()


def _holder_of(body: bytes) -> int | None:
    """The worker that holds the call that a Modern client goes on with."""
    found = _HELD.search(body) if _MARK in body else None
    return int(found.group(1)) if found else None


def _request(scope: MutableMapping[str, Any], headers: Headers, body: bytes) -> bytes:
    """The request once more, as it goes over the wire."""
    lines = [b"%b %b HTTP/%b" % (scope["method"].encode(), scope["raw_path"], scope["http_version"].encode())]
    lines += [b"%b: %b" % header for header in headers if header[0] not in _FRAMING]
    if scope["method"] == "POST":
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
