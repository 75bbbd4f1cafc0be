"""All calls under way, and how each of them ends: with an outcome, with an error, or given up from outside."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from vmcp.gateway.answer import rpc_error
from vmcp.gateway.ask import Ask
from vmcp.gateway.flight import Flight
from vmcp.gateway.patience import attend
from vmcp.mcp import jsonrpc


class Flights:
    """Calls that are carried to whoever answers them.

    Args:
        tasks: owns the watches of long calls.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._under_way: set[Flight] = set()

    def give_up(self, reason: str) -> None:
        """Give up every call under way."""
        for flight in tuple(self._under_way):
            flight.cancel(reason)

    async def carry(self, ask: Ask, work: Coroutine[Any, Any, str], *, reason: str = "") -> str:
        """The outcome of the work, which may be given up meanwhile: then the client is told so.

        Once this has returned or raised, what is still to be sent to the client is not cut short any more.

        Args:
            reason: why it is given up already; empty = it is not.
        """
        flight = Flight()
        self._under_way.add(flight)
        if ask.flights is not None:
            ask.flights[ask.answer.ident] = flight
        attend(ask, flight, self._tasks)
        if reason:
            # Not at once: a task that cancels itself and does not wait for anything is cancelled later, anywhere.
            asyncio.get_running_loop().call_soon(flight.cancel, reason)
        try:
            return await work
        except asyncio.CancelledError:
            if not flight.given_up():
                raise
        finally:
            flight.end()
            self._under_way.discard(flight)
            if ask.flights is not None and ask.flights.get(ask.answer.ident) is flight:
                del ask.flights[ask.answer.ident]
        await ask.answer.error(rpc_error(jsonrpc.REQUEST_CANCELLED, f"Request cancelled: {flight.reason}"))
        return "cancelled"
