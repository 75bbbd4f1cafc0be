"""CPU time and memory of a process and all of its descendants, from the kernel."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Time on a core so far, of every thread; the scheduler's own count, in nanoseconds and not in ticks."""
    total = 0
    for process in _tree(pid):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def pss_mb(pid: int) -> float:
    """Memory in RAM, what is shared with others shared out among them, in MB (10^6 bytes)."""
    total = 0
    for process in _tree(pid):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(FileNotFoundError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _tree(int(child))
