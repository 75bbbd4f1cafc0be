"""One of these servers as a child process that can be killed and started again."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from vmcp_dev.childprocess import ChildProcess

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0


class BackendError(Exception):
    """A server did not start. The message holds the tail of its log."""


class RunningBackend:
    """A context manager; the server runs while it is entered, except between `kill` and `start`.

    Attributes:
        name: `time`, `git` or `notes`.
        port: its port on 127.0.0.1.
        command: what starts it.
    """

    def __init__(self, name: str, port: int, *, logs: Path, repository: Path | None = None) -> None:
        self.name = name
        self.port = port
        self.command = [sys.executable, "-m", "vmcp_dev.backends", name, f"--port={port}"]
        if repository is not None:
            self.command.append(f"--repository={repository}")
        self._log = logs / f"backend-{name}.log"
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Its MCP endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def pid(self) -> int:
        """Its process id; 0 before the first start."""
        return self._child.pid if self._child is not None else 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.stop(_STOP_SECONDS)

    def start(self) -> None:
        """Start it, or start it again. Returns at once."""
        self._child = ChildProcess(f"backend {self.name}", self.command, log=self._log)

    def wait_listening(self) -> None:
        """Return as soon as it accepts connections.

        Raises:
            BackendError: it ended, or does not listen within a minute.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not listens(self.port):
            if self._child is None or not self._child.running or time.monotonic() > deadline:
                tail = self._child.tail() if self._child else ""
                raise BackendError(f"the MCP server {self.name} does not listen on port {self.port}:\n{tail}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash would, and wait for its end."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(_STOP_SECONDS)


def listens(port: int) -> bool:
    """Whether anybody accepts connections on that port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_repository(folder: Path) -> Path:
    """A small git repository with two commits, for the git server to look at.

    Raises:
        BackendError: git is not installed, or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    person = ["-c", "user.name=Demo", "-c", "user.email=demo@example.com", "-c", "commit.gpgsign=false"]
    try:
        _git(folder, "init", "--quiet", "--initial-branch=main")
        for number, line in enumerate(("first", "second"), start=1):
            (folder / "README.txt").write_text(f"the {line} version\n")
            _git(folder, "add", "README.txt")
            _git(folder, *person, "commit", "--quiet", f"--message=Commit {number}")
    except FileNotFoundError:
        raise BackendError("git is not installed; the git MCP server needs it: apt-get install git") from None
    except subprocess.CalledProcessError as error:
        raise BackendError(f"git failed: {error.stderr.strip()}") from None
    return folder


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=30.0)
