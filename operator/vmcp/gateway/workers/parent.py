"""The parent of a gateway's workers: forks them, starts a dead one again, passes the signal to stop on.

It has no event loop and serves nothing, so that there is little that can go wrong in it.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.1
LAST_PAUSE_S: Final = 10.0
STEADY_S: Final = 30.0
"""A worker that lived this long has nothing to wait for when it dies."""
STOP_S: Final = 40.0
"""More than a worker takes to let its calls end; what is left then is killed."""
_LOOK_S: Final = 1.0
_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

Work = Callable[[int, int], int]
"""Runs the worker of that number until it stops, and returns its exit status. The second number is a descriptor that is
at its end when the parent is gone."""


class Workers:
    """The parent's view.

    Args:
        work: runs in the child.
        stopping: called here once when the signal to stop has come.
        fatal: an exit status of a first worker that ends all.
    """

    def __init__(self, count: int, work: Work, *, stopping: Callable[[], None], fatal: int) -> None:
        self._count = count
        self._work = work
        self._stopping = stopping
        self._fatal = fatal
        self._running: dict[int, tuple[int, float]] = {}
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        self._pauses: dict[int, float] = {}
        self._stop_at: float | None = None
        self._status = 0
        self._alive, self._lifeline = os.pipe()

    def run(self) -> int:
        """Until a signal to stop has come and all have ended; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        while self._running or self._stop_at is None:
            self._start_due()
            heard = signal.sigtimedwait(_HEARD, self._pause())
            if heard is not None and heard.si_signo != signal.SIGCHLD:
                self._stop()
            self._reap()
            if self._stop_at is not None and time.monotonic() > self._stop_at + STOP_S:
                self._signal(signal.SIGKILL)
        return self._status

    def _start_due(self) -> None:
        now = time.monotonic()
        for index in [index for index, at in self._due.items() if at <= now]:
            del self._due[index]
            self._start(index)

    def _start(self, index: int) -> None:
        pid = os.fork()
        if pid:
            self._running[pid] = (index, time.monotonic())
            return
        status = 1
        try:
            os.close(self._lifeline)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
            status = self._work(index, self._alive)
        except BaseException:
            log.exception("worker %d failed", index)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in self._running:
                self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, status: int) -> None:
        index, since = self._running.pop(pid)
        if self._stop_at is not None:
            self._status = self._status or (status if status > 0 else 0)
            return
        if status == self._fatal and index not in self._pauses:
            self._status = status
            self._stop()
            return
        now = time.monotonic()
        pause_s = FIRST_PAUSE_S if now - since >= STEADY_S else self._pauses.get(index, FIRST_PAUSE_S)
        self._pauses[index] = min(2 * pause_s, LAST_PAUSE_S)
        self._due[index] = now + pause_s
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        log.error("worker %d (process %d) ended %s: starting it again in %g s", index, pid, how, pause_s)

    def _stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()
            self._due.clear()
            self._stopping()
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for pid in self._running:
            os.kill(pid, number)

    def _pause(self) -> float:
        nearest = min(self._due.values(), default=time.monotonic() + _LOOK_S)
        return min(_LOOK_S, max(0.0, nearest - time.monotonic()))
