"""Updates of resources for the subscription streams of Modern clients."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from vmcp.gateway.links import Link, Links
from vmcp.gateway.upstream import Upstream
from vmcp.mcp.backend import BackendError, Message

UPDATED: Final = "notifications/resources/updated"
MAX_URIS: Final = 1_000
"""Of one stream."""
BEGIN_S: Final = 5.0
"""A backend that is slower makes no client wait for its acknowledgement: its resources are subscribed to later."""

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


class Watches:
    """Makes the watch of each stream.

    Args:
        route: the backend of a resource.
    """

    def __init__(self, *, links: Links, route: Callable[[str], Upstream | None]) -> None:
        self._links = links
        self._route = route

    def watch(self, uris: list[str], updated: Callable[[bytes], None]) -> "Watch":
        """A watch of these resources; those of no backend are left out. `updated` is told the URI, as JSON."""
        wanted: dict[str, tuple[Upstream, list[str]]] = {}
        for uri in dict.fromkeys(uris[:MAX_URIS]):
            upstream = self._route(uri)
            if upstream is not None:
                wanted.setdefault(upstream.name, (upstream, []))[1].append(uri)
        return Watch(self._links, list(wanted.values()), updated)


class Watch:
    """The resources of one stream: a session with each of their backends, for as long as the stream is open."""

    def __init__(
        self, links: Links, wanted: list[tuple[Upstream, list[str]]], updated: Callable[[bytes], None]
    ) -> None:
        self._links = links
        self._wanted = wanted
        self._updated = updated
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> list[str]:
        """Subscribe; the resources that are subscribed to, or will be as soon as their backend answers."""
        began = await asyncio.gather(*(self._begin(upstream, uris) for upstream, uris in self._wanted))
        return [uri for uris in began for uri in uris]

    def end(self) -> None:
        """End the sessions."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    def _start(self, upstream: Upstream, uris: list[str]) -> Link:
        def moved(to: Upstream | None) -> None:
            if task not in self._tasks:
                return
            self._tasks.discard(task)
            task.cancel()
            if to is not None:
                self._start(to, uris).expect(uris)

        link, task = self._links.start(upstream, self._heard, legacy=False, moved=moved)
        self._tasks.add(task)
        return link

    async def _begin(self, upstream: Upstream, uris: list[str]) -> list[str]:
        link = self._start(upstream, uris)
        accepted = []
        try:
            async with asyncio.timeout(BEGIN_S):
                for uri in uris:
                    reply = await link.subscribe(uri)
                    if reply is None or reply.error is None:
                        accepted.append(uri)
                await link.ready.wait()
        except (TimeoutError, BackendError):
            # The link goes on trying; what it takes over then is what it was told to.
            link.expect(uris)
            return uris
        return accepted

    def _heard(self, link: Link, message: Message) -> None:
        if message.method != UPDATED or message.params is None:
            return
        try:
            uri = _fields_of(message.params)["uri"]
        except (KeyError, msgspec.MsgspecError):
            return
        self._updated(bytes(uri))
