"""One process at a time brings programs into a folder of the cache; the others wait, and find them there."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SAID_EVERY_S = 15.0


@contextmanager
def only_one_at_a_time(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock, which is made where it is missing; a wait is told every 15 s."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        waiting_since = time.monotonic()
        said = 0.0
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - waiting_since
                if waited >= said:
                    say(f"another process is filling {folder}; waiting ({waited:.0f} s)")
                    said = waited + SAID_EVERY_S
                time.sleep(0.2)
        yield
