"""The byte stream of a stdio server: the seam between whoever runs the server and the session with it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator


class AttachError(Exception):
    """There is no stream, or no longer one. The message is a sentence for a person, without secrets."""


class Attach(ABC):
    """Stdin and stdout of one life of the server. Its stderr is no part of it: it goes to the log."""

    @abstractmethod
    def output(self) -> AsyncGenerator[bytes, None]:
        """What the server writes, in chunks of any size, until its stdout ends.

        Raises:
            AttachError: the stream broke.
        """

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Write to the server's stdin; returns when it may be given more. Raises AttachError."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the server, which sees the end of its stdin. Takes a few seconds at most, raises nothing."""


class Source(ABC):
    """Whoever runs the server."""

    @abstractmethod
    async def open(self) -> Attach:
        """Attach to the server, which has not been spoken to yet.

        Raises:
            AttachError: it does not run, or cannot be attached to.
        """
