"""The status writer against a model of the stored object: no final state is lost, whatever the API server does.

The object behind the Kube seam is a model here; that a real API server behaves so is shown by
tests/integration/test_status_writer*.py.
"""

import asyncio
import itertools
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.health.fakeclock import FakeClock, FastForwardLoop

from vmcp.api.kinds import Kind
from vmcp.api.status import VirtualMCPServerStatus
from vmcp.health.snapshot import Health, Snapshot
from vmcp.kube.client import Conflict, JsonObject, Kube, KubeError, NotFound
from vmcp.status.document import document
from vmcp.status.findings import DeploymentState, Findings
from vmcp.status.news import has_news
from vmcp.status.recall import read_status
from vmcp.status.writer import SMALLEST_SHARE, WRITE_GAP_S, StatusWriter

LOG = logging.getLogger("vmcp.status.writer")
"""Silent meanwhile: writes fail by the hundred."""
HEARTBEAT_S = 300.0
CALL_S = 0.02
A_MOMENT_S = 1e-6
NAMES = ("one", "two", "three")

names = st.sampled_from(NAMES)


class Fault(Enum):
    """What happens to one call."""

    REFUSED_429 = "429"
    ERROR_500 = "500"
    NO_ANSWER = "the connection breaks before the call arrives"
    LOST_ANSWER = "the connection breaks after the call arrived"
    HANGS = "no answer within any time"
    SLOW = "an answer after 3 s"


@dataclass
class Stored:
    """One object on the API server."""

    name: str
    uid: str
    version: int
    generation: int = 1
    status: JsonObject = field(default_factory=dict)
    writes: list[float] = field(default_factory=list)

    def json(self) -> JsonObject:
        metadata = {"namespace": "ns", "name": self.name, "uid": self.uid, "resourceVersion": str(self.version)}
        return {"metadata": metadata | {"generation": self.generation}, "status": self.status}


class Api:
    """The API server, as far as the writer uses it. Faults are used up one a call."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.objects: dict[str, Stored] = {}
        self.versions = itertools.count(1)
        self.faults: deque[Fault] = deque()
        self.down = False
        self.watched: Callable[[JsonObject], None] = lambda obj: None
        self.problems: list[str] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        return await self._called(lambda: self._found(name).json())

    async def apply(self, kind: Kind, body: JsonObject, *, subresource: str = "", **_: Any) -> JsonObject:
        return await self._called(lambda: self._applied(body))

    def touch(self, obj: Stored) -> None:
        obj.version = next(self.versions)
        self.watched(obj.json())

    async def _called(self, act: Callable[[], JsonObject]) -> JsonObject:
        fault = self.faults.popleft() if self.faults else None
        await asyncio.sleep(CALL_S)
        if self.down or fault is Fault.NO_ANSWER:
            raise KubeError(0, "NoAnswer", "no answer from the API server")
        if fault is Fault.REFUSED_429:
            raise KubeError(429, "TooManyRequests", "slow down", 7.0)
        if fault is Fault.ERROR_500:
            raise KubeError(500, "InternalError", "no")
        answer = act()
        if fault is Fault.LOST_ANSWER:
            raise KubeError(0, "NoAnswer", "no answer from the API server")
        await asyncio.sleep({Fault.HANGS: 1e6, Fault.SLOW: 3.0}.get(fault, CALL_S) if fault else CALL_S)
        return answer

    def _found(self, name: str) -> Stored:
        if name not in self.objects:
            raise NotFound(404, "NotFound", f"{name} not found")
        return self.objects[name]

    def _applied(self, body: JsonObject) -> JsonObject:
        metadata = body["metadata"]
        obj = self._found(metadata["name"])
        if (metadata["uid"], metadata["resourceVersion"]) != (obj.uid, str(obj.version)):
            raise Conflict(409, "Conflict", "the object has been modified")
        self._judge_write(obj, body["status"])
        if body["status"] != obj.status:
            obj.status = body["status"]
            self.touch(obj)
        return obj.json()

    def _judge_write(self, obj: Stored, status: JsonObject) -> None:
        now, before, after = self.clock.monotonic(), read_status(obj.status), read_status(status)
        assert after is not None
        if obj.writes and now - obj.writes[-1] < WRITE_GAP_S - 4 * CALL_S:
            self.problems.append(f"{obj.name} is written {now - obj.writes[-1]} s after its last write")
        age = float("inf")
        if before is not None and before.last_report_time is not None:
            age = self.clock.wall() - before.last_report_time.timestamp()
        if obj.status and not has_news(before, after) and age < SMALLEST_SHARE * HEARTBEAT_S:
            self.problems.append(f"{obj.name} is written without news, {age} s after its last report")
        obj.writes.append(now)


class WriterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        LOG.disabled = True
        self.loop = FastForwardLoop()
        self.clock = FakeClock()
        self.api = Api(self.clock)
        self.api.watched = self.happened
        self.uids = itertools.count(1)
        self.findings: dict[str, Findings] = {}
        self.backends: dict[str, tuple[Snapshot, ...]] = {}
        self.late_events: deque[tuple[str, JsonObject]] = deque()
        self.watch_is_prompt = True
        self.writer = StatusWriter(
            kube=cast(Kube, self.api),
            compose=self.findings.get,
            snapshots=lambda uid: self.backends.get(uid, ()),
            clock=self.clock,
            rng=random.Random(3),
        )
        self.running = self.loop.create_task(self.writer.run())
        self.passes(A_MOMENT_S)

    def passes(self, seconds: float, act: Callable[[], object] = lambda: None) -> None:
        async def scenario() -> None:
            act()
            await asyncio.sleep(seconds)

        self.loop.run_until_complete(scenario())

    def happened(self, obj: JsonObject) -> None:
        """The watch, which may lag, but keeps the order."""
        self.late_events.append((obj["metadata"]["uid"], obj))
        if self.watch_is_prompt:
            self.deliver()

    def deliver(self) -> None:
        while self.late_events:
            uid, obj = self.late_events.popleft()
            if uid in self.findings:
                self.writer.seen(uid, obj)

    def of(self, name: str) -> str | None:
        """UID of the object of that name that reconcile knows."""
        return next((uid for uid, found in self.findings.items() if found.name == name), None)

    def desired(self, uid: str) -> VirtualMCPServerStatus:
        return document(self.findings[uid], self.backends[uid], None, self.clock.wall())

    @rule(name=names)
    def is_created(self, name: str) -> None:
        """Reconcile hears of it at once; of an older object of that name it heard that it is gone."""
        if name in self.api.objects:
            return

        def act() -> None:
            self.hears_of_deletion(name)
            uid = f"uid-{next(self.uids)}"
            obj = self.api.objects[name] = Stored(name, uid, next(self.api.versions))
            self.findings[uid] = Findings(
                "ns", name, uid, 1, deployment=DeploymentState.AVAILABLE, heartbeat_s=HEARTBEAT_S
            )
            self.backends[uid] = tuple(Snapshot(each, f"http://{each}/", f"f-{each}") for each in ("a", "b"))
            self.writer.seen(uid, obj.json())
            self.writer.report(uid)

        self.passes(A_MOMENT_S, act)

    @rule(name=names)
    def is_deleted(self, name: str) -> None:
        self.api.objects.pop(name, None)

    @rule(name=names)
    def deletion_is_heard(self, name: str) -> None:
        if name not in self.api.objects:
            self.passes(A_MOMENT_S, lambda: self.hears_of_deletion(name))

    def hears_of_deletion(self, name: str) -> None:
        uid = self.of(name)
        if uid is not None:
            del self.findings[uid], self.backends[uid]
            self.writer.forget(uid)

    @rule(name=names, place=st.integers(0, 1), health=st.sampled_from(Health))
    def a_backend_changes(self, name: str, place: int, health: Health) -> None:
        uid = self.of(name)
        if uid is not None:
            members = list(self.backends[uid])
            members[place] = replace(members[place], health=health, latency_s=self.clock.wall() % 1)
            self.backends[uid] = tuple(members)
            self.passes(A_MOMENT_S, lambda: self.writer.report(uid))

    @rule(name=names, times=st.integers(1, 20))
    def nothing_new_is_reported(self, name: str, times: int) -> None:
        uid = self.of(name)
        if uid is not None:
            for _ in range(times):
                members = [replace(each, last_check_at=self.clock.wall()) for each in self.backends[uid]]
                self.backends[uid] = tuple(members)
                self.passes(0.01, lambda: self.writer.report(uid))

    @rule(name=names)
    def the_spec_changes(self, name: str) -> None:
        obj, uid = self.api.objects.get(name), self.of(name)
        if obj is not None and obj.uid == uid:
            obj.generation += 1

            def act() -> None:
                self.api.touch(obj)
                self.findings[uid] = replace(self.findings[uid], generation=obj.generation)
                self.writer.report(uid)

            self.passes(A_MOMENT_S, act)

    @rule(name=names, phase=st.sampled_from(["Failed", "Ready", "Pending"]), version_only=st.booleans())
    def another_hand_writes(self, name: str, phase: str, version_only: bool) -> None:
        obj = self.api.objects.get(name)
        if obj is not None:
            if obj.status and not version_only:
                obj.status = obj.status | {"phase": phase, "backendCount": 77}
            self.passes(A_MOMENT_S, lambda: self.api.touch(obj))

    @rule(faults=st.lists(st.sampled_from(Fault), min_size=1, max_size=6))
    def calls_will_fail(self, faults: list[Fault]) -> None:
        self.api.faults.extend(faults)

    @rule(down=st.booleans())
    def the_api_server(self, down: bool) -> None:
        self.api.down = down

    @rule(prompt=st.booleans())
    def the_watch_is(self, prompt: bool) -> None:
        self.watch_is_prompt = prompt
        if prompt:
            self.passes(A_MOMENT_S, self.deliver)

    @rule(seconds=st.one_of(st.floats(0.001, 2.0), st.floats(2.0, 400.0)))
    def wait(self, seconds: float) -> None:
        self.passes(seconds)

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert not self.api.problems, self.api.problems
        assert not self.running.done()

    def teardown(self) -> None:
        try:
            self.is_left_alone()
        finally:
            LOG.disabled = False
            self.running.cancel()
            self.loop.run_until_complete(asyncio.gather(self.running, return_exceptions=True))
            self.loop.close()

    def is_left_alone(self) -> None:
        """The last state of every object is stored, soon; after that, there is silence but for heartbeats."""
        self.api.faults.clear()
        self.api.down, self.watch_is_prompt = False, True
        self.passes(A_MOMENT_S, self.deliver)
        for name in NAMES:
            if name not in self.api.objects:
                self.passes(A_MOMENT_S, lambda name=name: self.hears_of_deletion(name))
        # A call that hangs costs 10 s, the longest backoff is 30 s, an asked-for one 7 s more.
        self.passes(60.0)
        self.nothing_went_wrong()
        for obj in self.api.objects.values():
            assert not has_news(read_status(obj.status), self.desired(obj.uid)), f"{obj.name}: the last state is lost"
        assert self.writer.statistics().objects == len(self.api.objects)
        before = {name: len(obj.writes) for name, obj in self.api.objects.items()}
        self.passes(3600.0)
        for name, obj in self.api.objects.items():
            beats = len(obj.writes) - before[name]
            assert 3600 / HEARTBEAT_S - 1 <= beats <= 3600 / (SMALLEST_SHARE * HEARTBEAT_S), name
        self.nothing_went_wrong()


TestWriter = WriterMachine.TestCase
TestWriter.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
