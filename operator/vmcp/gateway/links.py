"""Sessions that a Legacy client has with backends for itself alone.

Clients that backends cannot ask anything share the gateway's own session with each backend. One that declared
sampling, elicitation or roots, subscribed to a resource or chose a log level gets its own: a server keeps all of these
per session. Such a session is opened by the first call that needs it, and ends with the client's.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec

from vmcp.api.category import ErrorCategory
from vmcp.gateway.sharing.memory import Kept
from vmcp.gateway.upstream import Upstream
from vmcp.mcp.backend import Backend, BackendError, Era, Message, Reply
from vmcp.mcp.errors import SessionGoneError
from vmcp.mcp.transport import Transport

log = logging.getLogger(__name__)

MAX_LINKS: Final = 10_000
ASIDE_S: Final = 10.0
"""For what is sent besides calls: subscriptions, levels, notifications."""
LISTEN_S: Final = 1.0
"""How long the first call waits at most until the backend is listened to."""
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 30.0
_CONFLICT: Final = 409
"""What servers say who have a stream of the session open already."""

Deliver = Callable[["Link", Message], None]
"""Takes what a backend says outside of calls."""
Changed = Callable[[], Awaitable[None]]
"""Awaited when there is another session, or are other subscriptions, before anything comes of it."""

Moved = Callable[[Upstream | None], None]
"""Told that the backend is another by now, or none any more."""


async def _nobody() -> None:
    """There is nobody to tell of a change."""


def _followed(to: Upstream | None) -> None:
    """`Links` itself goes over."""


class Link:
    """One client's session with one backend.

    Attributes:
        backend: the connection that the client's requests go over.
        uris: resources that the client subscribed to.
        capabilities: of the client, as JSON.
        level: log level that the client chose, empty = none.
        calls: requests under way.
        changed: awaited when there is something that outlives this process.
        moved: told that the backend is another, or none any more.
        ready: what the backend says outside of calls is heard, as far as it says anything.
        parting: somebody else goes on with the session: it is not ended at the backend.
    """

    def __init__(
        self,
        upstream: Upstream,
        backend: Backend,
        deliver: Deliver,
        *,
        capabilities: bytes = b"{}",
        level: str = "",
        changed: Changed = _nobody,
        moved: Moved = _followed,
    ) -> None:
        self.upstream = upstream
        self.parting = False
        self.changed = changed
        self.moved = moved
        self.backend = backend
        self.uris: set[str] = set()
        self.capabilities = capabilities
        self.level = level
        self.calls = 0
        self.ready = asyncio.Event()
        self.deliver = deliver
        self._usable = asyncio.Event()
        if upstream.usable:
            self._usable.set()
        self._opened = asyncio.Event()
        self._opening = asyncio.Lock()
        self._told_of = self._heard_of = 0
        self._period: asyncio.Timeout | None = None
        self._retry_s = FIRST_RETRY_S

    async def open(self, *, timeout: float) -> None:
        """Open the session, tell a new one what the one before it knew, and begin to listen. Returns at once when open.

        Raises:
            BackendError: as `Backend.open`.
        """
        if self._heard_of and self._heard_of == self.backend.openings:
            return
        await self._open_session(timeout)
        self._opened.set()
        try:
            # What a call makes the backend say outside of it would be lost before somebody listens.
            async with asyncio.timeout(min(LISTEN_S, timeout)):
                await self.ready.wait()
        except TimeoutError:
            pass
        self._heard_of = self._told_of

    async def ask(self, method: str, params: bytes, *, timeout: float = ASIDE_S) -> Reply:
        """The response to a request that belongs to no call of the client's. Raises BackendError."""
        exchange = await self.backend.request(method, params, timeout=timeout)
        return await exchange.response()

    async def subscribe(self, uri: str) -> Reply | None:
        """Hear of updates of this resource; the backend's own response, None where its era has no such request.

        Raises:
            BackendError: no session.
        """
        await self.open(timeout=ASIDE_S)
        if self.backend.era is Era.MODERN:
            self.uris.add(uri)
            self._listen_anew()
            await self.changed()
            return None
        reply = await self.ask("resources/subscribe", _uri(uri))
        if reply.error is None:
            self.uris.add(uri)
            await self.changed()
        return reply

    def expect(self, uris: Iterable[str]) -> None:
        """Subscribe to these too, as soon as the backend can be reached."""
        self.uris.update(uris)
        self._opened.set()

    async def unsubscribe(self, uri: str) -> Reply | None:
        """As `subscribe`."""
        await self.open(timeout=ASIDE_S)
        self.uris.discard(uri)
        await self.changed()
        if self.backend.era is Era.MODERN:
            self._listen_anew()
            return None
        return await self.ask("resources/unsubscribe", _uri(uri))

    def adopt(self, kept: Kept, level: str) -> None:
        """Go on with the session that another replica opened, and hear what it says."""
        session = kept.adoptable()
        self.level = level
        if session is None:
            if not self.uris >= set(kept.uris):
                self.uris.update(kept.uris)
                self._listen_anew()
            return
        self.uris = set(kept.uris)
        if self.backend.kept() != session:
            self.backend.adopt(session)
            self._told_of = self.backend.openings
            self._listen_anew()

    async def set_level(self, level: str) -> None:
        """Hear of log messages from this level on. A backend that cannot is no error."""
        self.level = level
        if self._told_of and not self.upstream.usable:
            # Nothing is sent to it: it is told with all the rest when it is back.
            self._told_of = 0
            self._opened.set()
        elif self._told_of and self.backend.era is Era.LEGACY and "logging" in self.backend.capabilities:
            try:
                await self.ask("logging/setLevel", msgspec.json.encode({"level": level}))
            except BackendError as error:
                log.info("backend %s: log level not set: %s", self.upstream.name, error)

    def usability(self, usable: bool) -> None:
        """The backend may be used from now on, or no longer: then nothing is sent to it, not even a kept stream."""
        if usable:
            self._usable.set()
        else:
            self._usable.clear()
            self._interrupt()

    async def run(self) -> None:
        """Hear what the backend says outside of calls, until cancelled; then end the session."""
        try:
            while True:
                await self._opened.wait()
                await self._usable.wait()
                silent = busy = False
                try:
                    async with asyncio.timeout(None) as self._period:
                        await self._hear()
                except TimeoutError:
                    continue
                except SessionGoneError:
                    # The server has forgotten all that it knew: open a session and tell it, but not again and again.
                    pass
                except BackendError as error:
                    busy = error.http_status == _CONFLICT
                    silent = error.category is ErrorCategory.HTTP_4XX and not busy
                finally:
                    self._period = None
                    self.ready.clear()
                if silent:
                    # It offers no stream: until the client subscribes to something there is nothing to hear.
                    self.ready.set()
                    self._opened.clear()
                    continue
                if busy:
                    # Another replica hears the session. When it has gone, we do.
                    self.ready.set()
                await asyncio.sleep(self._retry_s)
                self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)
        except Exception:
            log.exception("backend %s: a client's session failed", self.upstream.name)
        finally:
            if self.parting:
                self.backend.drop()
            else:
                await self.backend.close()

    async def _open_session(self, timeout: float) -> None:
        async with self._opening:
            await self.backend.open(timeout=timeout)
            if self._told_of != self.backend.openings:
                self._told_of = self.backend.openings
                await self._tell_again()
                await self.changed()

    async def _hear(self) -> None:
        await self._open_session(ASIDE_S)
        async for message in self.backend.messages(tuple(sorted(self.uris)), opened=self._hearing):
            self.deliver(self, message)

    def _hearing(self) -> None:
        self.ready.set()
        self._retry_s = FIRST_RETRY_S

    def _listen_anew(self) -> None:
        self.ready.clear()
        self._opened.set()
        self._interrupt()

    def _interrupt(self) -> None:
        if self._period is not None and not self._period.expired():
            self._period.reschedule(asyncio.get_running_loop().time())

    async def _tell_again(self) -> None:
        if self.backend.era is Era.LEGACY:
            if self.level:
                await self.set_level(self.level)
            for uri in sorted(self.uris):
                await self.ask("resources/subscribe", _uri(uri))


class Links:
    """All of them, bounded: where there are too many, the one idle for longest ends and is opened anew when needed.

    Args:
        tasks: owns what hears the backends.
    """

    def __init__(self, *, transport: Transport, tasks: asyncio.TaskGroup, version: str) -> None:
        self._transport = transport
        self._tasks = tasks
        self._version = version
        self._links: OrderedDict[tuple[str, str], tuple[Link, asyncio.Task[None]]] = OrderedDict()
        self._running: set[Link] = set()
        self._backends_of: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._links)

    def of(
        self,
        session: str,
        upstream: Upstream,
        *,
        capabilities: bytes,
        level: str,
        deliver: Deliver,
        changed: Changed = _nobody,
        kept: Kept | None = None,
    ) -> Link:
        """The client's own session with this backend, not yet opened where it is new.

        Args:
            kept: as another replica opened it.
        """
        key = (session, upstream.name)
        found = self._links.get(key)
        if found is not None and found[0].upstream is upstream:
            self._links.move_to_end(key)
            return found[0]
        if found is not None:
            # The backend is another by now.
            self._end(key)
        if len(self._links) >= MAX_LINKS:
            self._make_room()
        link, task = self.start(upstream, deliver, capabilities=capabilities, level=level, changed=changed)
        if kept is not None and kept.fingerprint == upstream.fingerprint:
            link.adopt(kept, level)
        self._links[key] = (link, task)
        self._backends_of.setdefault(session, set()).add(upstream.name)
        return link

    def start(
        self,
        upstream: Upstream,
        deliver: Deliver,
        *,
        capabilities: bytes = b"{}",
        level: str = "",
        legacy: bool = True,
        changed: Changed = _nobody,
        moved: Moved = _followed,
    ) -> tuple[Link, asyncio.Task[None]]:
        """A session that the caller ends, by cancelling the task."""
        backend = Backend(
            self._transport,
            upstream.backend.address,
            client_name="vmcp-gateway",
            client_version=self._version,
            client_capabilities=capabilities,
            legacy_first=legacy,
        )
        link = Link(upstream, backend, deliver, capabilities=capabilities, level=level, changed=changed, moved=moved)
        self._running.add(link)
        task = self._tasks.create_task(link.run())
        task.add_done_callback(lambda _: self._running.discard(link))
        return link, task

    def follow(self, upstreams: Mapping[str, Upstream]) -> None:
        """Go over to these backends: what a client wants to hear of one that moved, it hears from its new place."""
        for key, (link, _) in list(self._links.items()):
            upstream = upstreams.get(key[1])
            if upstream is link.upstream:
                continue
            self._end(key)
            if upstream is not None and link.uris:
                fresh = self.of(
                    key[0],
                    upstream,
                    capabilities=link.capabilities,
                    level=link.level,
                    deliver=link.deliver,
                    changed=link.changed,
                )
                fresh.expect(link.uris)
        for link in tuple(self._running):
            upstream = upstreams.get(link.upstream.name)
            if upstream is not link.upstream:
                link.moved(upstream)

    def flipped(self, upstream: Upstream) -> None:
        """The backend became usable or stopped being so."""
        for link in tuple(self._running):
            if link.upstream is upstream:
                link.usability(upstream.usable)

    def of_session(self, session: str) -> list[Link]:
        """Those that the client has."""
        return [self._links[session, name][0] for name in sorted(self._backends_of.get(session, ()))]

    def end(self, session: str, *, parting: bool = False) -> None:
        """The client has left; `parting` = not for good, somebody else goes on with its sessions."""
        for name in tuple(self._backends_of.get(session, ())):
            self._links[session, name][0].parting = parting
            self._end((session, name))

    def part(self) -> None:
        """This process stops, and others go on with all of them."""
        for link, _ in self._links.values():
            link.parting = True

    def _end(self, key: tuple[str, str]) -> None:
        _, task = self._links.pop(key)
        task.cancel()
        names = self._backends_of[key[0]]
        names.discard(key[1])
        if not names:
            del self._backends_of[key[0]]

    def _make_room(self) -> None:
        for key, (link, _) in self._links.items():
            if not link.calls and not link.uris:
                self._end(key)
                return


def _uri(uri: str) -> bytes:
    return msgspec.json.encode({"uri": uri})
