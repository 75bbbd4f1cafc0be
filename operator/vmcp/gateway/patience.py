"""Calls that take longer than a moment: whether the client is still there, and how it sees that the call goes on."""

import asyncio
import logging
from typing import Final

from vmcp.gateway.ask import Ask
from vmcp.gateway.flight import Flight, watch_client

log = logging.getLogger(__name__)

WATCH_AFTER_S: Final = 0.25
"""A call younger than this is not watched for its client leaving: most are over by then, and a watch costs a task."""
KEEP_ALIVE_S: Final = 10.0
"""A call that takes longer begins to stream, so that proxies on the way, and the client, see that it goes on."""


def attend(ask: Ask, flight: Flight, tasks: asyncio.TaskGroup) -> None:
    """Look after the call from `WATCH_AFTER_S` on, until it is over."""
    flight.later(WATCH_AFTER_S, _watch, ask, flight, tasks)


def _watch(ask: Ask, flight: Flight, tasks: asyncio.TaskGroup) -> None:
    if ask.receive is not None:
        tasks.create_task(watch_client(ask.receive, lambda: _left(ask, flight)))
    if ask.answer.streams:
        flight.later(KEEP_ALIVE_S, _show, ask, flight, tasks)


def _left(ask: Ask, flight: Flight) -> None:
    # Whoever got an event id may come back for the rest: then leaving is no cancelling (mcp-wire §1.5).
    if not ask.answer.resumable:
        flight.cancel("client left")


def _show(ask: Ask, flight: Flight, tasks: asyncio.TaskGroup) -> None:
    tasks.create_task(_keep_alive(ask, flight, tasks))


async def _keep_alive(ask: Ask, flight: Flight, tasks: asyncio.TaskGroup) -> None:
    try:
        await ask.answer.keep_alive()
    except Exception:
        log.exception("a call could not be kept alive")
    else:
        flight.later(KEEP_ALIVE_S, _show, ask, flight, tasks)
