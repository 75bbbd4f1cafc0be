"""How long the watches have been silent.

kopf shows handlers neither bookmarks nor which streams are open. It does take a session of ours
(`kopf.AiohttpSession`), and this one notes when each open watch last delivered anything. The API server sends a
bookmark a minute, and kopf opens a stream anew after 70 s of silence: an age far above that means that watching is
broken.
"""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import aiohttp


class WatchAge:
    """When each open watch was last heard of. Written in kopf's thread, read in any.

    Attributes:
        sessions: how many were made.
        has_opened: whether any watch was ever open.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._streams: dict[int, float] = {}
        self._last = now()
        self.sessions = 0
        self.has_opened = False

    @property
    def seconds(self) -> float:
        """Since the most silent open watch delivered something; with none open, since anything was delivered."""
        heard = list(self._streams.values())
        return max(0.0, self._now() - (min(heard) if heard else self._last))

    @property
    def last(self) -> float:
        """Monotonic seconds: when anything was delivered last; at first, when watching began."""
        return self._last

    def session(self, **options: Any) -> aiohttp.ClientSession:
        """A session whose watches are noted here; to be made in the loop that uses it."""

        class Response(aiohttp.ClientResponse):
            async def start(self, connection: Any) -> aiohttp.ClientResponse:
                await super().start(connection)
                if self.url.query.get("watch") == "true":
                    self.content = cast(aiohttp.StreamReader, _Heard(self.content, age))
                return self

        age = self
        self.sessions += 1
        return aiohttp.ClientSession(response_class=Response, **options)

    def heard(self, stream: int) -> None:
        """An open watch delivered something, or was opened."""
        self._streams[stream] = self._last = self._now()
        self.has_opened = True

    def closed(self, stream: int) -> None:
        """A watch is open no more."""
        self._streams.pop(stream, None)


class _Heard:
    """A response's content that notes what it delivers."""

    def __init__(self, content: aiohttp.StreamReader, age: WatchAge) -> None:
        self._content = content
        self._age = age

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """As the content does."""
        stream = id(self)
        self._age.heard(stream)
        try:
            async for chunk in self._content.iter_chunked(size):
                self._age.heard(stream)
                yield chunk
        finally:
            self._age.closed(stream)
