"""Whether it was this task that was cancelled: two ways in which that comes out wrong."""

import asyncio


def is_cancelled() -> bool:
    """Whether the current task was cancelled from outside and has not ended yet.

    A task group that was ending already loses such a cancel (mended in Python 3.13), and aiohttp raises CancelledError
    from a write when an earlier one was cancelled while it waited for room.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
