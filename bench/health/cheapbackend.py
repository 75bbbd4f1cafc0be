"""The cheap backend of `backend.py` as a process beside the checker's core."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator

from bench.process import CHECKER_CORE, Contestant, ours


class Backend:
    """The cheap backend, in a process of its own."""

    def __init__(self, process: Contestant) -> None:
        self.process = process
        self.port = int(process.line())

    def answered(self) -> int:
        """Requests answered so far."""
        return int(self._get("count"))

    def fail(self) -> None:
        """Answer 500 from now on."""
        self._get("fail")

    def mend(self) -> None:
        """Answer 200 again."""
        self._get("mend")

    def _get(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}/{path}", timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError:
            return b""


@contextlib.contextmanager
def backend() -> Iterator[Backend]:
    """Run the cheap backend beside the checker's core."""
    with ours("bench.health.backend", core=CHECKER_CORE + 1) as process:
        yield Backend(process)
