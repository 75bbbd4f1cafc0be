"""What watches show of the statuses of a fleet, and when."""

import time
from collections.abc import Iterable

from bench.operator.objects import Fleet, JsonObject
from bench.operator.stage import Stage, collection, until


class Statuses:
    """The latest status of each object of a namespace.

    Attributes:
        open_at: when a status first said that a backend's circuit is open, in monotonic seconds, by backend.
    """

    def __init__(self) -> None:
        self.open_at: dict[str, float] = {}
        self._phases: dict[str, str] = {}
        self._open: set[str] = set()

    async def follow(self, on: Stage, fleet: Fleet) -> None:
        """Watch those of a fleet."""
        await on.watch(collection(fleet.namespace, "virtualmcpservers"), "", self._see)

    async def until_ready(self, fleet: Fleet) -> None:
        """Return when every object is Ready."""
        await until(
            lambda: len(self._phases) == fleet.size and set(self._phases.values()) == {"Ready"},
            f"every object of {fleet.namespace} is Ready",
        )

    async def until_open(self, backends: Iterable[str]) -> None:
        """Return when a status says of each backend that its circuit is open."""
        wanted = set(backends)
        await until(lambda: wanted <= self._open, "every backend that fails is shown as open")

    def _see(self, event: str, obj: JsonObject) -> None:
        now, status = time.monotonic(), obj.get("status") or {}
        self._phases[obj["metadata"]["name"]] = status.get("phase", "")
        for found in status.get("discoveredBackends", ()):
            name = found["name"]
            if found.get("circuitBreakerState") != "open":
                self._open.discard(name)
            elif name not in self._open:
                self._open.add(name)
                self.open_at[name] = now
