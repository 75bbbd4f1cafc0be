"""The one writer of `.status` (design §4): coalescing, fenced by `resourceVersion`, silent without news.

One loop takes the objects by due time and gives each a turn of its own; a turn composes the document, writes
it when it has news or when the heartbeat is due, and sets the next due time. A report makes an object due at
once, but never sooner than a second after its last write. An object that cannot be written backs off alone.
"""

import asyncio
import heapq
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vmcp.api.kinds import VIRTUAL_MCP_SERVER
from vmcp.api.status import VirtualMCPServerStatus
from vmcp.health.clock import Clock, SystemClock
from vmcp.health.snapshot import Snapshot
from vmcp.kube.client import Conflict, JsonObject, Kube, KubeError, NotFound
from vmcp.status.document import document
from vmcp.status.findings import Findings
from vmcp.status.news import has_news
from vmcp.status.size import STATUS_MAX_BYTES, fitted
from vmcp.status.slot import Slot

CONCURRENT_WRITES = 8
WRITE_GAP_S = 1.0
CALL_TIMEOUT_S = 10.0
CONFLICTS_IN_A_TURN = 3
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
RETRY_AFTER_MAX_S = 60.0
SMALLEST_SHARE = 0.8
_IDLE_S = 3600.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Statistics:
    """Counts since the start, and the objects known now.

    Attributes:
        writes: that the API server took, heartbeats among them.
        suppressed: turns that found nothing new.
        retries: attempts that failed and were put off, conflicts not among them.
    """

    objects: int = 0
    writes: int = 0
    heartbeats: int = 0
    suppressed: int = 0
    conflicts: int = 0
    retries: int = 0


class _Gone(Exception):
    """The object is no more, or another object has its name."""


class StatusWriter:
    """Writes the status of every VirtualMCPServer it is told of; to be called in the loop that runs `run`.

    Args:
        compose: what reconcile knows of the object with that UID; None = nothing yet, which writes nothing.
        snapshots: of the object's backends.
        on_written: called with UID and object after each write.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        compose: Callable[[str], Findings | None],
        snapshots: Callable[[str], Sequence[Snapshot]],
        clock: Clock | None = None,
        rng: random.Random | None = None,
        on_written: Callable[[str, JsonObject], None] | None = None,
    ) -> None:
        self._kube = kube
        self._compose = compose
        self._snapshots = snapshots
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._on_written = on_written
        self._slots: dict[str, Slot] = {}
        self._due: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._busy = 0
        self._counts = Statistics()

    def report(self, uid: str, *, within_s: float = 0.0) -> None:
        """Something about this object may have changed; it is written when there is news.

        Args:
            within_s: the write may wait so long for what is about to follow, to tell both in one.
        """
        slot = self._slot(uid)
        slot.reported = True
        if not slot.busy:
            self._schedule(slot, self._clock.monotonic() + within_s)

    def seen(self, uid: str, obj: Mapping[str, object]) -> None:
        """The object as read or watched: news is measured by it, and its version fences the next write."""
        if self._slot(uid).observe(obj):
            self.report(uid)

    def forget(self, uid: str) -> None:
        """The object is gone: nothing is written for it any more, and a write under way is its last."""
        self._slots.pop(uid, None)

    def statistics(self) -> Statistics:
        """Counts since the start."""
        self._counts.objects = len(self._slots)
        return self._counts

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as turns:
            while True:
                self._wake.clear()
                now = self._clock.monotonic()
                while self._busy < CONCURRENT_WRITES and (slot := self._next(now)):
                    slot.busy, slot.reported = True, False
                    self._busy += 1
                    turns.create_task(self._turn(slot), name=f"status of {slot.uid}")
                waiting = self._due and self._busy < CONCURRENT_WRITES
                await self._clock.sleep_until(self._due[0][0] if waiting else now + _IDLE_S, self._wake)

    async def drain(self, timeout_s: float) -> None:
        """Write what is still news, once `run` has ended: a clean stop loses nothing of the last second.

        Only for a process that may still write, that is, holds its Lease. One attempt for each object.
        """
        gate = asyncio.Semaphore(CONCURRENT_WRITES)

        async def last_turn(slot: Slot) -> None:
            async with gate:
                try:
                    await self._write_if_needed(slot)
                except (NotFound, _Gone):
                    self.forget(slot.uid)
                except Exception as error:
                    _log.warning("status of %s: last state not written: %s", slot.title or slot.uid, _told(error))

        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as turns:
                for slot in list(self._slots.values()):
                    turns.create_task(last_turn(slot))
        except TimeoutError:
            _log.warning("not every last state was written within %gs", timeout_s)

    def _slot(self, uid: str) -> Slot:
        slot = self._slots.get(uid)
        if slot is None:
            share = self._rng.uniform(SMALLEST_SHARE, 1.0)
            slot = Slot(uid, share, self._rng.random(), self._clock.monotonic())
            self._slots[uid] = slot
        return slot

    def _schedule(self, slot: Slot, when: float) -> None:
        when = max(when, slot.not_before)
        if slot.due is not None and slot.due <= when:
            return
        slot.due = when
        heapq.heappush(self._due, (when, slot.uid))
        if len(self._due) > 2 * len(self._slots) + 64:
            self._due = [(other.due, other.uid) for other in self._slots.values() if other.due is not None]
            heapq.heapify(self._due)
        self._wake.set()

    def _next(self, now: float) -> Slot | None:
        """The next object that is due; entries overtaken by an earlier one are dropped on the way."""
        while self._due and self._due[0][0] <= now:
            when, uid = heapq.heappop(self._due)
            slot = self._slots.get(uid)
            if slot is not None and slot.due == when and not slot.busy:
                slot.due = None
                return slot
        return None

    async def _turn(self, slot: Slot) -> None:
        try:
            next_in = await self._write_if_needed(slot)
            if slot.failures:
                _log.info("status of %s: written again after %d failures", slot.title, slot.failures)
            slot.failures = 0
        except (NotFound, _Gone):
            next_in = None
            if self._slots.get(slot.uid) is slot:
                self.forget(slot.uid)
        except Exception as error:
            next_in = self._put_off(slot, error)
        finally:
            slot.busy = False
            self._busy -= 1
            self._wake.set()
        if self._slots.get(slot.uid) is not slot:
            return
        now = self._clock.monotonic()
        if next_in is not None:
            self._schedule(slot, now + next_in)
        if slot.reported:
            self._schedule(slot, now)

    async def _write_if_needed(self, slot: Slot) -> float | None:
        """Bring the stored status up to date; seconds until the next heartbeat, None with nothing known."""
        for _ in range(CONFLICTS_IN_A_TURN):
            findings = self._compose(slot.uid)
            if findings is None:
                if slot.stored is None:
                    # A late report of an object that is forgotten must not keep it.
                    self.forget(slot.uid)
                return None
            slot.title = f"{findings.namespace}/{findings.name}"
            if slot.stored is None:
                await self._reread(slot, findings)
            now, wall = self._clock.monotonic(), self._clock.wall()
            status = document(findings, self._snapshots(slot.uid), slot.stored, wall)
            news = has_news(slot.stored, status)
            beat_in = slot.beat_in(findings.heartbeat_s, now=now, wall=wall)
            if not news and beat_in > 0:
                self._counts.suppressed += 1
                return beat_in
            try:
                await self._write(slot, findings, status)
            except Conflict:
                self._counts.conflicts += 1
                await self._reread(slot, findings)
                continue
            self._counts.heartbeats += not news
            # News comes to many objects at once; drawn anew with it, their heartbeats part, and then keep their pace.
            slot.share = self._rng.uniform(SMALLEST_SHARE, 1.0) if news else 1.0
            return findings.heartbeat_s * slot.share
        raise KubeError(409, "Conflict", "the object changes faster than its status can be written")

    async def _reread(self, slot: Slot, findings: Findings) -> None:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            obj = await self._kube.get(VIRTUAL_MCP_SERVER, findings.namespace, findings.name)
        if obj["metadata"]["uid"] != slot.uid:
            raise _Gone
        slot.observe(obj, reread=True)

    async def _write(self, slot: Slot, findings: Findings, status: VirtualMCPServerStatus) -> None:
        body = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        head = {
            "apiVersion": VIRTUAL_MCP_SERVER.api_version,
            "kind": VIRTUAL_MCP_SERVER.name,
            "metadata": {
                "namespace": findings.namespace,
                "name": findings.name,
                "uid": slot.uid,
                "resourceVersion": slot.version,
            },
            "status": fitted(body, 0 if slot.slim else STATUS_MAX_BYTES),
        }
        # Also after a failure: the API server may have taken what it did not answer.
        slot.not_before = self._clock.monotonic() + WRITE_GAP_S
        async with asyncio.timeout(CALL_TIMEOUT_S):
            obj = await self._kube.apply(VIRTUAL_MCP_SERVER, head, subresource="status")
        self._counts.writes += 1
        slot.written(obj, status)
        if self._on_written is not None:
            self._on_written(slot.uid, obj)

    def _put_off(self, slot: Slot, error: Exception) -> float:
        """Seconds until the next attempt: exponential with jitter, at least what the API server asks for."""
        if slot.failures == 0:
            expected = isinstance(error, KubeError | TimeoutError)
            _log.warning(
                "status of %s: not written, trying again: %s",
                slot.title or slot.uid,
                _told(error),
                exc_info=None if expected else error,
            )
        slot.slim = slot.slim or _too_large(error)
        slot.failures += 1
        self._counts.retries += 1
        longest: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(slot.failures - 1, 10))
        wait = longest * self._rng.uniform(0.5, 1.0)
        if isinstance(error, KubeError) and error.retry_after_s is not None:
            wait += min(error.retry_after_s, RETRY_AFTER_MAX_S)
        slot.not_before = max(slot.not_before, self._clock.monotonic() + wait)
        return wait


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _too_large(error: Exception) -> bool:
    # The API server passes on what etcd or its client library said, as a 500.
    said = str(error)
    return isinstance(error, KubeError) and (error.status == 413 or "too large" in said or "larger than max" in said)
