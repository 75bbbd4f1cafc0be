"""The local runner in a thread with a loop of its own, for callers whose loop comes and goes."""

import asyncio
import threading
import time
from types import TracebackType
from typing import Self

from vmcp_dev.runner import LocalRunner

_STOP_SECONDS = 30.0


class RunnerThread:
    """A context manager around a `LocalRunner`."""

    def __init__(self, runner: LocalRunner) -> None:
        self.runner = runner
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="local runner", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all pods' processes. Raises what ended the runner before, if anything did."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(_STOP_SECONDS)
        if self._failure is not None:
            raise self._failure

    @property
    def running(self) -> bool:
        """Whether the runner still serves."""
        return self._thread.is_alive()

    def wait_address(self, namespace: str, name: str, timeout_seconds: float = 120.0) -> str:
        """The URL of a ready gateway pod of that VirtualMCPServer, without `/mcp`.

        Raises:
            TimeoutError: none became ready in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            url = self.runner.address(namespace, name)
            if url is not None:
                return url
            time.sleep(0.1)
        raise TimeoutError(f"no pod of {namespace}/{name} became ready in {timeout_seconds:g} s")

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self.runner.run())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
