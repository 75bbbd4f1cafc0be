"""Where a connection and the short way of a call meet (`lane`); edges without a short way have `NoShortWay`."""

from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum
from typing import Any, Final, Protocol

from vmcp.gateway.answer import Headers, Receive, Send

CONNECTION: Final = "vmcp.connection"
"""The extension of an ASGI scope that holds the connection that the request came on."""

App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Taken(Enum):
    """What became of a request that is not under way on the short way."""

    NOT = 0
    ANSWERED = 1


class Client(Protocol):
    """The connection that a call came on."""

    def respond(self, message: bytes) -> None:
        """The whole answer: JSON, under 200."""

    def hand_over(self, app: App) -> None:
        """Go on as an ASGI application, whose request body is read already."""


class OnItsWay(Protocol):
    """A call on the short way."""

    def hand_over(self) -> None:
        """Let it go on as any other."""


class ShortWay(Protocol):
    """Takes plain calls before they become requests of uvicorn's."""

    def take(self, client: Client, headers: Headers, body: bytes) -> OnItsWay | Taken:
        """The call, when it is on its way; or that it is answered already, or nothing for the short way."""


class NoShortWay:
    """Takes nothing."""

    def take(self, client: Client, headers: Headers, body: bytes) -> Taken:
        """Nothing for the short way."""
        return Taken.NOT
