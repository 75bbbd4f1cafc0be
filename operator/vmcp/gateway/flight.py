"""A call under way that may be given up from outside: its client left, or said `notifications/cancelled`."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol


class Underway(Protocol):
    """A call that may be given up by its request id."""

    def cancel(self, reason: str) -> None:
        """Give it up."""


class Flight:
    """The current task's call. `reason` is set once it was given up; the task then gets a CancelledError."""

    __slots__ = ("_over", "_task", "reason")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._over = False
        self.reason = ""

    def cancel(self, reason: str) -> None:
        """Give the call up. A second reason, and one that comes after the end, is ignored."""
        if not self.reason and not self._over:
            self.reason = reason
            self._task.cancel()

    def given_up(self) -> bool:
        """After a CancelledError: whether it was this call that was given up, and not the whole task."""
        return bool(self.reason) and self._task.uncancel() == 0

    @property
    def over(self) -> bool:
        """The call has ended."""
        return self._over

    def end(self) -> None:
        """The call is over: what comes now cancels nothing."""
        self._over = True


async def watch_client(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], gone: Callable[[], None]) -> None:
    """Call `gone` when the client has closed its connection. The body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()
