"""The metrics of all workers, gathered by the one that leads: whichever worker is scraped shows the same."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Final

import msgspec

from vmcp.gateway.metrics import CONTENT_TYPE
from vmcp.gateway.workers.mail import Letter, Mail
from vmcp.gateway.workers.team import LEADER
from vmcp.gateway.workers.totals import summed, without_gauges

log = logging.getLogger(__name__)

ASK: Final = "metrics?"
TELL: Final = "metrics"
TOTAL_QUESTION: Final = "total?"
TOTAL: Final = "total"
GATHER_S: Final = 1.0
"""A worker that is slower is left at what it said last."""
ANSWER_S: Final = 3.0


class _Told(msgspec.Struct, array_like=True, frozen=True):
    ticket: int
    process: int = 0
    text: bytes = b""


class _Record(msgspec.Struct, array_like=True, frozen=True):
    """What whoever takes the leader's place must know: else the totals would fall."""

    ended: bytes
    last: dict[int, _Told]


class Gathering:
    """One worker's part in it.

    Args:
        own: the metrics of this worker.
    """

    def __init__(self, mail: Mail, *, own: Callable[[], bytes], tasks: asyncio.TaskGroup) -> None:
        self._mail = mail
        self._own = own
        self._tasks = tasks
        self._ticket = 0
        self._wanted: dict[int, asyncio.Future[bytes]] = {}
        self._last: dict[int, _Told] = {}
        self._ended = b""
        if mail.index == LEADER:
            # Of the process that led before, if any.
            with contextlib.suppress(msgspec.MsgspecError):
                record = msgspec.msgpack.decode(mail.kept(), type=_Record)
                self._ended, self._last = record.ended, record.last

    async def page(self) -> tuple[int, bytes, str]:
        """What Prometheus scrapes."""
        if self._mail.index == LEADER:
            return 200, await self._total(), CONTENT_TYPE
        try:
            return 200, await self._ask(LEADER, TOTAL_QUESTION, ANSWER_S), CONTENT_TYPE
        except TimeoutError:
            return 503, b"the worker that gathers the metrics does not answer\n", "text/plain"

    def deliver(self, letter: Letter) -> None:
        """A letter of this matter."""
        told = msgspec.msgpack.decode(letter.content, type=_Told)
        if letter.kind == ASK:
            answer = _Told(told.ticket, os.getpid(), self._own())
            self._mail.post(letter.sender, TELL, msgspec.msgpack.encode(answer))
            return
        if letter.kind == TOTAL_QUESTION:
            self._tasks.create_task(self._tell_total(letter.sender, told.ticket))
            return
        if letter.kind == TELL:
            self._keep(letter.sender, told)
        waiting = self._wanted.get(told.ticket)
        if waiting is not None and not waiting.done():
            waiting.set_result(told.text)

    async def _ask(self, worker: int, kind: str, timeout: float) -> bytes:
        self._ticket += 1
        ticket = self._ticket
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._wanted[ticket] = future
        try:
            async with asyncio.timeout(timeout):
                await self._mail.send(worker, kind, msgspec.msgpack.encode(_Told(ticket)))
                return await future
        finally:
            del self._wanted[ticket]

    async def _total(self) -> bytes:
        asked = (self._ask(other, ASK, GATHER_S) for other in self._mail.others)
        await asyncio.gather(*asked, return_exceptions=True)
        own = self._own()
        record = _Record(summed([self._ended, without_gauges(own)]), self._last)
        self._mail.keep(msgspec.msgpack.encode(record))
        return summed([own, *(told.text for told in self._last.values()), self._ended])

    async def _tell_total(self, worker: int, ticket: int) -> None:
        try:
            answer = _Told(ticket, os.getpid(), await self._total())
            await self._mail.send(worker, TOTAL, msgspec.msgpack.encode(answer))
        except Exception:
            log.exception("worker %d could not be told the metrics", worker)

    def _keep(self, worker: int, told: _Told) -> None:
        before = self._last.get(worker)
        if before is not None and before.process != told.process:
            # What it had counted stays counted, or the totals would fall.
            self._ended = summed([self._ended, without_gauges(before.text)])
        self._last[worker] = told
