"""From kopf's thread to the operator's loop: the latest event of each object, bounded by the number of objects."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from vmcp.api.kinds import Kind
from vmcp.kube.client import JsonObject
from vmcp.reconcile.cache import Key


@dataclass(frozen=True, slots=True)
class Seen:
    """An event of a watch. `listed`: it came from a list, after which deletions may have been missed."""

    kind: Kind
    obj: JsonObject
    deleted: bool = False
    listed: bool = False


class Inbox:
    """Handlers put, in any thread; the loop gets what was put, each object once, in the order of first arrival."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Callable[[Seen], None]) -> None:
        self._loop = loop
        self._receive = receive
        self._lock = threading.Lock()
        self._latest: dict[Key, Seen] = {}

    def put(self, seen: Seen) -> None:
        """Hand over; a later event of the same object replaces one that was not taken yet."""
        key = Key.of(seen.kind, seen.obj)
        with self._lock:
            first = not self._latest
            earlier = self._latest.get(key)
            if earlier is not None and earlier.listed:
                seen = replace(seen, listed=True)
            self._latest[key] = seen
        if first:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        with self._lock:
            taken, self._latest = self._latest, {}
        for seen in taken.values():
            self._receive(seen)
