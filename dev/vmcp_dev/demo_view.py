"""What the demo knows of its VirtualMCPServer: the status that kubectl prints, followed by `kubectl get --watch`."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vmcp_dev.kubectl import Kubectl

_AGAIN_SECONDS = 0.5
_END_SECONDS = 5.0


class DemoFailed(Exception):
    """Something that the demo shows did not happen. The message says what was waited for."""


@dataclass(frozen=True, slots=True)
class CircuitMove:
    """One change of a backend's circuit, as `.status` keeps it; `at` in seconds since the epoch."""

    backend: str
    at: float
    before: str
    after: str
    reason: str

    def __str__(self) -> str:
        return f"{self.backend}: circuit {self.before} -> {self.after} ({self.reason})"


@dataclass(frozen=True, slots=True)
class BackendView:
    """One entry of `.status.discoveredBackends`."""

    name: str
    health: str
    circuit: str
    failures: int
    open_until: datetime | None
    revision: str
    moves: tuple[CircuitMove, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The status of the VirtualMCPServer."""

    phase: str = ""
    ready: str = ""
    message: str = ""
    backends: tuple[BackendView, ...] = ()

    @classmethod
    def of(cls, obj: dict[str, Any]) -> "View":
        """Read the object as kubectl prints it."""
        status = obj.get("status", {})
        ready: dict[str, str] = next((found for found in status.get("conditions", ()) if found["type"] == "Ready"), {})
        backends = tuple(_backend(entry) for entry in status.get("discoveredBackends", ()))
        return cls(status.get("phase", ""), ready.get("status", ""), ready.get("message", ""), backends)

    def backend(self, name: str) -> BackendView | None:
        """The backend of that name."""
        return next((backend for backend in self.backends if backend.name == name), None)


class StatusWatch:
    """Follows one VirtualMCPServer and misses no change of a circuit: `.status` keeps the last ones.

    Attributes:
        view: the last status seen.
        moves: every change of a circuit so far, in the order of their times.
    """

    def __init__(
        self, kubectl: Kubectl, name: str, *, on_change: Callable[[View, Sequence[CircuitMove]], None]
    ) -> None:
        self.view = View()
        self.moves: list[CircuitMove] = []
        self._command = (
            str(kubectl.binary),
            f"--kubeconfig={kubectl.kubeconfig}",
            "get",
            f"virtualmcpservers/{name}",
            "--output=json",
            "--watch",
        )
        self._on_change = on_change
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Follow it until cancelled."""
        while True:
            await self._follow()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def until(self, met: Callable[[View], bool], what: str, timeout_seconds: float) -> View:
        """The first status from now on that is so.

        Raises:
            DemoFailed: none is in time; `what` says what was waited for.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(lambda: met(self.view))
        except TimeoutError:
            last = f"phase {self.view.phase or 'unknown'}, {self.view.message or 'nothing said'}"
            raise DemoFailed(f"{what} did not happen within {timeout_seconds:g} s (last seen: {last})") from None
        return self.view

    async def until_moved(self, backend: str, after: str, since: float, timeout_seconds: float) -> CircuitMove:
        """The first change of the backend's circuit to that state since a time in seconds since the epoch.

        Raises:
            DemoFailed: there is none in time.
        """

        def found() -> CircuitMove | None:
            return next((m for m in self.moves if (m.backend, m.after) == (backend, after) and m.at >= since), None)

        await self.until(lambda _: found() is not None, f"circuit of {backend} -> {after}", timeout_seconds)
        move = found()
        assert move is not None
        return move

    async def _follow(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdout is not None
        document: list[bytes] = []
        try:
            async for line in process.stdout:
                document.append(line)
                # Only the last line of a document is not indented.
                if line.rstrip() == b"}":
                    await self._see(json.loads(b"".join(document)))
                    document.clear()
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()

    async def _see(self, obj: dict[str, Any]) -> None:
        self.view = View.of(obj)
        seen = {move for backend in self.view.backends for move in backend.moves}
        news = sorted(seen.difference(self.moves), key=lambda move: move.at)
        self.moves += news
        self._on_change(self.view, news)
        async with self._changed:
            self._changed.notify_all()


def seconds_left(until: datetime | None) -> float:
    """Seconds until then, 0 when it is over or not set."""
    return max(0.0, until.timestamp() - time.time()) if until else 0.0


def _backend(entry: dict[str, Any]) -> BackendView:
    name = entry["name"]
    moves = tuple(
        CircuitMove(name, _time(move["time"]).timestamp(), move["from"], move["to"], move["reason"])
        for move in entry.get("transitions", ())
    )
    return BackendView(
        name,
        health=entry.get("status", "unknown"),
        circuit=entry.get("circuitBreakerState", ""),
        failures=entry.get("consecutiveFailures", 0),
        open_until=_time(entry["circuitOpenUntil"]) if entry.get("circuitOpenUntil") else None,
        revision=entry.get("mcpRevision", ""),
        moves=moves,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
