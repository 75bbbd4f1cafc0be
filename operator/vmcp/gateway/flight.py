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

    __slots__ = ("_over", "_task", "_timer", "reason")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer: asyncio.TimerHandle | None = None
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

    def later(self, seconds: float, act: Callable[..., object], *args: object) -> None:
        """Act then, unless the call is over; one thing waits at a time."""
        if not self._over:
            self._timer = self._task.get_loop().call_later(seconds, act, *args)

    def end(self) -> None:
        """The call is over: what comes now cancels nothing, and nothing waits any more."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def watch_client(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], gone: Callable[[], None]) -> None:
    """Call `gone` when the client has closed its connection. The body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()
