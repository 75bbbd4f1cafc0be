"""The parent of a gateway's workers: forks them, starts a dead one again, kills one that hangs, passes the signal to
stop on.

It has no event loop and serves nothing, so that there is little that can go wrong in it.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from vmcp.gateway.workers.silence import LOOK_S, Silence

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.1
LAST_PAUSE_S: Final = 10.0
STEADY_S: Final = 30.0
"""A worker that lived this long has nothing to wait for when it dies."""
STOP_S: Final = 40.0
"""More than a worker takes to let its calls end; what is left then is killed."""
SILENT_S: Final = 30.0
"""A worker whose loop has not turned for this long hangs: it is killed, and started again."""
_SIGNS: Final = 64 * 1024
"""More than wait to be read at once."""
_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_HEARD: Final = (*_STOP, signal.SIGCHLD)

Work = Callable[[int, int], int]
"""Runs the worker of that number until it stops, and returns its exit status. The second number is the descriptor of a
socket: at its end when the parent is gone; it takes the worker's number, a byte, as a sign that its loop turns."""


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
        self._silence = Silence(SILENT_S)
        self._ours, self._theirs = socket.socketpair()
        for each in (self._ours, self._theirs):
            each.setblocking(False)

    def run(self) -> int:
        """Until a signal to stop has come and all have ended; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        while self._running or self._stop_at is None:
            self._start_due()
            heard = signal.sigtimedwait(_HEARD, self._pause())
            # Interrupted by SIGCONT after its time is over, Python returns what no signal has filled in.
            if heard is not None and heard.si_signo in _STOP:
                self._stop()
            self._reap()
            self._kill_silent()
            if self._stop_at is not None and time.monotonic() > self._stop_at + STOP_S:
                self._signal(signal.SIGKILL)
        return self._status

    def _start_due(self) -> None:
        now = time.monotonic()
        for index in [index for index, at in self._due.items() if at <= now]:
            del self._due[index]
            self._start(index)

    def _start(self, index: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            pause_s = self._start_later(index)
            log.error("worker %d cannot be started (%s): trying again in %g s", index, error.strerror, pause_s)
            return
        if pid:
            self._running[pid] = (index, time.monotonic())
            self._silence.heard(index)
            return
        status = 1
        try:
            self._ours.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
            status = self._work(index, self._theirs.fileno())
        except BaseException:
            log.exception("worker %d failed", index)
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                # Whatever happens: beyond it, the child would go on as another parent.
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
        self._silence.forget(index)
        if self._stop_at is not None:
            self._status = self._status or (status if status > 0 else 0)
            return
        if status == self._fatal and index not in self._pauses:
            self._status = status
            self._stop()
            return
        pause_s = self._start_later(index, lived_s=time.monotonic() - since)
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        log.error("worker %d (process %d) ended %s: starting it again in %g s", index, pid, how, pause_s)

    def _start_later(self, index: int, *, lived_s: float = 0.0) -> float:
        pause_s = FIRST_PAUSE_S if lived_s >= STEADY_S else self._pauses.get(index, FIRST_PAUSE_S)
        self._pauses[index] = min(2 * pause_s, LAST_PAUSE_S)
        self._due[index] = time.monotonic() + pause_s
        return pause_s

    def _kill_silent(self) -> None:
        for index in self._signs():
            self._silence.heard(index)
        silent = self._silence.look(time.monotonic())
        if self._stop_at is not None:
            # Whoever does not end in time is killed as it is.
            return
        for pid, (index, _) in self._running.items():
            if index in silent:
                log.error("worker %d (process %d) hangs, no sign of it for %g s: killing it", index, pid, SILENT_S)
                os.kill(pid, signal.SIGKILL)

    def _signs(self) -> set[int]:
        with contextlib.suppress(BlockingIOError):
            return set(self._ours.recv(_SIGNS))
        return set()

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
        nearest = min(self._due.values(), default=time.monotonic() + LOOK_S)
        return min(LOOK_S, max(0.0, nearest - time.monotonic()))
