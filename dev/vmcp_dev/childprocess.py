"""A program that runs as long as we do: its output in a file, its death noticed, never left behind.

Each child leads a session of its own, so that Ctrl-C in a terminal reaches us and not the child: what is
stopped in which order is ours to say. The price is that a SIGKILL of ours would leave it running; a small
shell per child holds the other end of a pipe and kills the child's process group when the pipe closes.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LEASH = 'trap "" INT TERM HUP; read -r _; kill -s KILL -- "-$1" 2>/dev/null'


class ChildProcess:
    """A started program.

    Attributes:
        name: what it is called in messages.
        log: file that holds its stdout and stderr; appended to, so that it survives a restart.
        pid: its process id, also its process group.
        asked_to_end: whether `terminate`, `kill` or `stop` was called, so that its end is no surprise.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_exit: "Callable[[ChildProcess], None] | None" = None,
    ) -> None:
        """Start the program. `on_exit` is called once it has ended, in a thread of ours.

        Raises:
            OSError: it cannot be started.
        """
        self.name = name
        self.log = log
        self.asked_to_end = False
        self._on_exit = on_exit
        self._ended = threading.Event()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._leash = subprocess.Popen(
            ["/bin/sh", "-c", _LEASH, "leash", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=self._watch, name=f"watch {name}", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    @property
    def exit_status(self) -> int | None:
        """As a shell reports it: 128 + the number of the signal that ended it; None while it runs."""
        status = self._process.returncode if self._ended.is_set() else None
        return status if status is None or status >= 0 else 128 - status

    def wait(self, timeout_seconds: float) -> bool:
        """Whether it has ended within the time."""
        return self._ended.wait(timeout_seconds)

    def terminate(self) -> None:
        """Ask it to end. Nothing happens when it has."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and what it started. Nothing happens when it has ended."""
        self._signal(signal.SIGKILL)

    def stop(self, grace_seconds: float) -> None:
        """Ask it to end; kill it after the grace. Returns when it is gone."""
        self.terminate()
        if not self.wait(grace_seconds):
            self.kill()
            self.wait(10.0)

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 16_384))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        return ""

    def _signal(self, number: signal.Signals) -> None:
        self.asked_to_end = True
        if self._ended.is_set():
            return
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)

    def _watch(self) -> None:
        self._process.wait()
        self._ended.set()
        self._leash.kill()
        self._leash.communicate()
        if self._on_exit is not None:
            self._on_exit(self)
