"""A real Redis on a free port of loopback, for tests: nothing on disk, gone with us."""

import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.ports import free_port

START_S: Final = 30.0
STOP_S: Final = 5.0
_ATTEMPTS: Final = 3


class RedisMissing(RuntimeError):
    """There is no redis-server; the message says how to get it."""


class RedisServer:
    """One server that may be stopped, killed and started again at the same port.

    Attributes:
        port: where it listens, from the first start on.

    Args:
        folder: for its log.
        password: empty = anyone may use it.
    """

    def __init__(self, folder: Path, *, password: str = "") -> None:
        self.port = 0
        self.password = password
        self._folder = folder
        self._process: ChildProcess | None = None

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return when it answers.

        Raises:
            RedisMissing: it is not installed.
            RuntimeError: it did not start.
        """
        program = shutil.which("redis-server")
        if program is None:
            raise RedisMissing("redis-server is not on PATH: install it, on Debian by `apt-get install redis-server`")
        for _ in range(_ATTEMPTS if self.port == 0 else 1):
            port = self.port or free_port()
            arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            if self.password:
                arguments += ["--requirepass", self.password]
            self._process = ChildProcess("redis-server", [program, *arguments], log=self._folder / "redis.log")
            if _answers(port, self._process):
                self.port = port
                return
        raise RuntimeError(f"redis-server did not start: {self._process.tail() if self._process else ''}")

    def kill(self) -> None:
        """End it as a crash does: what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)

    def pause(self) -> None:
        """Let it answer nothing, with every connection open, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop(STOP_S)


def _answers(port: int, process: ChildProcess) -> bool:
    until = time.monotonic() + START_S
    while process.running and time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0) as sock:
            sock.sendall(b"PING\r\n")
            # One that wants a password says so: it answers, too.
            if sock.recv(16)[:1] in (b"+", b"-"):
                return True
        time.sleep(0.02)
    return False
