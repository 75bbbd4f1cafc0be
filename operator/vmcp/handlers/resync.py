"""Lists: before the first reconcile, after a watch that was lost, and every so often.

kopf reports no deletion that happened while it did not watch.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from vmcp.api.kinds import MCP_GROUP, MCP_REMOTE_PROXY, MCP_SERVER, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER, Kind
from vmcp.handlers import owned
from vmcp.kube.client import JsonObject, Kube, KubeError, NotFound
from vmcp.reconcile.affected import affected
from vmcp.reconcile.cache import Cache, Key, kept

OURS = (VIRTUAL_MCP_SERVER, MCP_GROUP, MCP_SERVER, MCP_SERVER_ENTRY, MCP_REMOTE_PROXY)
QUIET_S = 2.0
"""A list arrives as many events: look once they are over."""
EVERY_S = 600.0
RETRY_S = 2.0

log = logging.getLogger(__name__)


class Resync:
    """Keeps the cache to what exists; `add` is given every key whose object may have changed unseen.

    `with_servers`: what MCPServers own is listed, too.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        cache: Cache,
        add: Callable[[Key], None],
        namespaces: Iterable[str] = (),
        with_servers: bool = False,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._add = add
        self._namespaces = tuple(namespaces)
        self._owned = owned.kinds(with_servers=with_servers)
        self._selector = owned.selector(with_servers=with_servers)
        self._wake = asyncio.Event()

    async def fill(self) -> None:
        """List every kind, patiently, and ask for the reconcile of everything there is."""
        for kind in (*OURS, *self._owned):
            await self._patiently(kind)

    def listed(self) -> None:
        """A watch began anew: what was deleted meanwhile is still to be found out.

        Of every kind, since a kind of which nothing is left does not tell that it was listed.
        """
        self._wake.set()

    async def run(self) -> None:
        """Look again when told to, and every ten minutes, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._wake.wait()
            await asyncio.sleep(QUIET_S)
            # Before the lists, so that what is told while they are read leads to another round.
            self._wake.clear()
            await self.fill()

    async def _patiently(self, kind: Kind) -> None:
        while True:
            self._cache.begin_list()
            try:
                listed = await self._list(kind)
            except KubeError as error:
                log.warning("cannot list %s, again in %.0f s: %s", kind.plural, RETRY_S, error)
                await asyncio.sleep(RETRY_S)
                continue
            for obj in self._cache.prune(kind, listed):
                for key in affected(kind, obj, self._cache):
                    self._add(key)
            return

    async def _list(self, kind: Kind) -> list[JsonObject]:
        selector = "" if kind in OURS else self._selector
        try:
            # Page by page: ten thousand objects as they come would take more memory than all else together.
            return [
                kept(obj)
                for namespace in self._namespaces or (None,)
                async for page in self._kube.pages(kind, namespace, label_selector=selector)
                for obj in page
            ]
        except NotFound:
            log.error("the API server does not know %s: install the CRDs", kind.plural)
            return []
