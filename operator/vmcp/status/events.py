"""Events on objects: bounded, rate-limited, best effort. A lost Event is counted, never waited for."""

import asyncio
import logging
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from vmcp.api.kinds import VIRTUAL_MCP_SERVER, Kind
from vmcp.health.clock import Clock, SystemClock
from vmcp.health.snapshot import Circuit, Snapshot, Transition, told_of
from vmcp.kube.client import JsonObject, Kube, KubeError, NamespaceEnding, NotFound
from vmcp.kube.kinds import EVENT
from vmcp.status.backends import to_millisecond

COMPONENT = "vmcp-operator"
QUEUE_MAX = 1000
BURST = 50
PER_SECOND = 10.0
ATTEMPTS = 3
CALL_TIMEOUT_S = 5.0
MESSAGE_MAX_LENGTH = 1024

_log = logging.getLogger(__name__)


class EventType(StrEnum):
    """How loud an Event is."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Reference:
    """The object that an Event is about. Without the right UID `kubectl describe` does not show it."""

    namespace: str
    name: str
    uid: str
    kind: Kind = VIRTUAL_MCP_SERVER


@dataclass(slots=True)
class EventStatistics:
    """Counts since the start: Events stored, dropped from a full queue, given up after failed attempts."""

    stored: int = 0
    dropped: int = 0
    failed: int = 0


class EventRecorder:
    """Records Events in the order they were given. All methods belong to the loop that runs `run`."""

    def __init__(self, *, kube: Kube, instance: str = "", clock: Clock | None = None) -> None:
        self._kube = kube
        self._instance = instance
        self._clock = clock or SystemClock()
        self._queue: deque[JsonObject] = deque()
        self._wake = asyncio.Event()
        self._tokens = float(BURST)
        self._refilled_at = self._clock.monotonic()
        self._counts = EventStatistics()

    def transition(self, about: Reference, snapshot: Snapshot, transition: Transition) -> None:
        """A backend's circuit changed; `snapshot` is the backend after it."""
        opened = transition.after is Circuit.OPEN
        reason = {
            Circuit.OPEN: "CircuitOpened",
            Circuit.HALF_OPEN: "CircuitHalfOpen",
            Circuit.CLOSED: "CircuitClosed",
        }[transition.after]
        self.event(about, EventType.WARNING if opened else EventType.NORMAL, reason, _sentence(snapshot, transition))

    def override(self, about: Reference, before: Snapshot, after: Snapshot) -> None:
        """A person began or ceased to overrule a backend, or its time is over."""
        if after.override is not None:
            told = f"backend {after.name}: {told_of(after.override)}"
            self.event(about, EventType.NORMAL, "BackendOverridden", told)
        elif before.override is not None:
            told = f"backend {after.name}: no longer {told_of(before.override)}"
            self.event(about, EventType.NORMAL, "BackendOverrideEnded", told)

    def event(self, about: Reference, type_: EventType, reason: str, message: str) -> None:
        """Record an Event; never waits. The oldest is dropped when too many are waiting."""
        if len(self._queue) >= QUEUE_MAX:
            self._queue.popleft()
            self._counts.dropped += 1
        self._queue.append(self._body(about, type_, reason, message))
        self._wake.set()

    def statistics(self) -> EventStatistics:
        """Counts since the start."""
        return self._counts

    async def run(self) -> None:
        """Store Events until cancelled."""
        while True:
            while self._queue:
                await self._take_token()
                if self._queue:
                    await self._store(self._queue.popleft())
            self._wake.clear()
            await self._wake.wait()

    async def _take_token(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._refilled_at) * PER_SECOND)
        self._refilled_at = now
        self._tokens -= 1.0
        if self._tokens < 0.0:
            await self._clock.sleep_until(now - self._tokens / PER_SECOND, asyncio.Event())

    async def _store(self, body: JsonObject) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._kube.create(EVENT, body)
            except (NamespaceEnding, NotFound):
                # The namespace goes or is gone, and with it whoever would read of its objects.
                return
            except Exception as error:
                # A 4xx stays one, unless it only asks to slow down.
                answered = isinstance(error, KubeError) and 400 <= error.status < 500 and error.status != 429
                final = answered or not isinstance(error, KubeError | TimeoutError)
                if final or attempt == ATTEMPTS:
                    self._counts.failed += 1
                    _log.warning("Event %s on %s is lost: %s", body["reason"], body["involvedObject"]["name"], error)
                    return
                await self._clock.sleep_until(self._clock.monotonic() + attempt, asyncio.Event())
            else:
                self._counts.stored += 1
                return

    def _body(self, about: Reference, type_: EventType, reason: str, message: str) -> JsonObject:
        moment = datetime.fromtimestamp(self._clock.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {
                "namespace": about.namespace,
                "name": f"{about.name[:200].rstrip('-.')}.{uuid.uuid4().hex[:16]}",
            },
            "involvedObject": {
                "apiVersion": about.kind.api_version,
                "kind": about.kind.name,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": str(type_),
            "reason": reason,
            "message": message[:MESSAGE_MAX_LENGTH],
            "source": {"component": COMPONENT, "host": self._instance},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }


def _sentence(snapshot: Snapshot, transition: Transition) -> str:
    sentence = f"backend {snapshot.name}: circuit {transition.before} -> {transition.after}, {transition.reason}"
    if transition.after is Circuit.OPEN:
        until = to_millisecond(snapshot.open_until)
        if until is not None:
            sentence += f"; open until {until:%Y-%m-%dT%H:%M:%SZ}"
    return sentence
