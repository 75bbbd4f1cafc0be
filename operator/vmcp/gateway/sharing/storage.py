"""Where processes that serve the same gateway keep what they share, as far as they share anything: a narrow seam.

What is stored and told is bytes that nobody else can read. Nothing here may fail a call: storage that is away has
nothing to say.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

WAIT_S: Final = 0.5
"""A client waits no longer for it."""


class Storage(ABC):
    """Shared by all replicas of one gateway.

    Attributes:
        on_failure: told of each request that was not answered.
    """

    def __init__(self) -> None:
        self.on_failure: Callable[[], None] = lambda: None

    @property
    @abstractmethod
    def present(self) -> bool:
        """It answers."""

    @abstractmethod
    async def read(self, *keys: str) -> Sequence[bytes | None]:
        """What is kept under these keys; None for each under which nothing is, or while the storage is away."""

    @abstractmethod
    async def write(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """Keep this for so many seconds; False = the storage is away."""

    @abstractmethod
    async def touch(self, keys: Sequence[str], *, ttl_s: float) -> None:
        """Keep these for so many seconds from now on."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Keep this no longer."""

    @abstractmethod
    def tell(self, news: bytes) -> None:
        """Let all others know. At most once, and in order; lost while the storage is away."""

    @abstractmethod
    async def run(self, heard: Callable[[bytes], None], present: Callable[[], None]) -> None:
        """Hear what others tell until cancelled.

        Args:
            present: called whenever the storage is there (again): what was told before may have been missed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""
