"""Keeps the lists of one backend fresh: reads them when it becomes usable, when it says that they changed, and from
time to time. A slow or dead backend costs its own feed only.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from vmcp.api.category import ErrorCategory
from vmcp.gateway.listing import Item, Listed, fetch
from vmcp.gateway.upstream import Upstream
from vmcp.mcp.backend import BackendError, ListChanged
from vmcp.mcp.errors import SessionGoneError

log = logging.getLogger(__name__)

GRACE_S = 1.0
"""How long after it became usable a backend without lists may hold up a client's list request."""
LIST_TIMEOUT_S = 10.0
REFRESH_S = 600.0
"""Between readings of a backend that tells of changes."""
REFRESH_UNTOLD_S = 60.0
"""Between readings of a backend that does not."""
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0

_LISTS = {
    ListChanged.TOOLS: (Listed.TOOLS,),
    ListChanged.PROMPTS: (Listed.PROMPTS,),
    ListChanged.RESOURCES: (Listed.RESOURCES, Listed.TEMPLATES),
}


class Feed:
    """The lists of one backend, as long as the backend is configured.

    Attributes:
        failure: why the last reading failed, empty after a good one.
    """

    def __init__(self, upstream: Upstream, put: Callable[[str, Listed, tuple[Item, ...]], None]) -> None:
        self.upstream = upstream
        self.failure = ""
        self._put = put
        self._read = asyncio.Event()
        self._grace_until = asyncio.get_running_loop().time() + GRACE_S
        self._usable = asyncio.Event()
        self._wake = asyncio.Event()
        self._stale: set[Listed] = set(Listed)
        self._told = False
        self._period: asyncio.Timeout | None = None
        if upstream.usable:
            self._usable.set()

    def usability(self, usable: bool) -> None:
        """The backend may be used from now on, or no longer: then nothing is sent to it, not even a kept stream."""
        if usable:
            self._stale = set(Listed)
            self._grace_until = asyncio.get_running_loop().time() + GRACE_S
            self._usable.set()
        else:
            self._usable.clear()
            self.failure = ""
            if self._period is not None and not self._period.expired():
                self._period.reschedule(asyncio.get_running_loop().time())

    def stale(self, changed: ListChanged) -> None:
        """The backend said that a list changed."""
        self._stale.update(_LISTS[changed])
        self._wake.set()

    @property
    def awaited(self) -> bool:
        """Whether a list request should wait a moment for this backend's first lists."""
        return (
            self.upstream.usable and not self._read.is_set() and asyncio.get_running_loop().time() < self._grace_until
        )

    async def first_read(self) -> None:
        """Return after the first reading, good or not, and at the end of the grace at the latest."""
        try:
            async with asyncio.timeout_at(self._grace_until):
                await self._read.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Feed until cancelled, then end the backend's session."""
        try:
            while True:
                await self._usable.wait()
                try:
                    # A timeout without a time: `usability(False)` ends the period by setting one.
                    async with asyncio.timeout(None) as self._period, asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._keep_reading())
                        tasks.create_task(self._keep_listening())
                except TimeoutError:
                    self._period = None
        finally:
            await self.upstream.backend.close()

    async def _keep_reading(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                await self._read_stale()
            except BackendError as error:
                self._failed(str(error))
            except Exception:
                log.exception("backend %s: reading its lists failed", self.upstream.name)
                self._failed("an internal error")
            else:
                self.failure = ""
                retry_s = FIRST_RETRY_S
            self._read.set()
            if self.failure:
                pause_s = retry_s * random.uniform(0.8, 1.2)
                retry_s = min(retry_s * 2, LAST_RETRY_S)
            else:
                pause_s = (REFRESH_S if self._told else REFRESH_UNTOLD_S) * random.uniform(0.8, 1.2)
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                if not self.failure:
                    self._stale = set(Listed)
            self._wake.clear()

    async def _read_stale(self) -> None:
        backend = self.upstream.backend
        timeout = min(self.upstream.timeout_s, LIST_TIMEOUT_S)
        await backend.open(timeout=timeout)
        for listed in Listed:
            if listed not in self._stale:
                continue
            # Discarded before it is read: a change during the reading makes it stale again.
            self._stale.discard(listed)
            if listed.capability not in backend.capabilities:
                self._put(self.upstream.name, listed, ())
                continue
            try:
                items = await fetch(backend, listed, timeout=timeout)
            except BaseException:
                self._stale.add(listed)
                raise
            self._put(self.upstream.name, listed, items)

    async def _keep_listening(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            # Listening opens no session of its own: the reader does, and knows the era then.
            await self._read.wait()
            pause_s = retry_s
            retry_s = min(retry_s * 2, LAST_RETRY_S)
            if not self.failure and self.upstream.backend.era is not None:
                try:
                    # Some servers keep a stream open and never tell of a change; what they say they do decides.
                    self._told = _tells(self.upstream.backend.capabilities)
                    async for changed in self.upstream.backend.listen():
                        retry_s = FIRST_RETRY_S
                        self.stale(changed)
                    # The stream ended: a change in between would be missed.
                    self._stale = set(Listed)
                    self._wake.set()
                except BackendError as error:
                    if error.category is ErrorCategory.HTTP_4XX and not isinstance(error, SessionGoneError):
                        pause_s = REFRESH_S
                except Exception:
                    log.exception("backend %s: listening for changes failed", self.upstream.name)
                finally:
                    self._told = False
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))

    def _failed(self, reason: str) -> None:
        if self.failure != reason:
            log.warning("backend %s: its lists could not be read: %s", self.upstream.name, reason)
        self.failure = reason


def _tells(capabilities: Mapping[str, Any]) -> bool:
    """Whether a server says that it tells of every list that it has."""
    offered = [capabilities[listed.capability] for listed in Listed if listed.capability in capabilities]
    return all(isinstance(each, Mapping) and each.get("listChanged") is True for each in offered)
