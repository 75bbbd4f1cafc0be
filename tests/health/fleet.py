"""A monitor over scripted backends, in fast-forward."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.health.fakeclock import FakeClock, run

from vmcp.api.category import ErrorCategory
from vmcp.health.monitor import Change, Check, Monitor
from vmcp.health.outcome import Outcome
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.snapshot import Circuit, Snapshot
from vmcp.health.target import Target

OK = Outcome(latency_s=0.01)
REFUSED = Outcome(ErrorCategory.CONNECT, detail="connection refused")
POLICY = HealthPolicy(breaker=BreakerPolicy(enabled=True))

Act = Callable[[], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


def target(name: str, *, policy: HealthPolicy = POLICY, **others: object) -> Target:
    known = Target(name, f"http://{name}:8080/mcp", policy, fingerprint=f"{name}-1")
    return replace(known, **others)  # type: ignore[arg-type]


class Backends(Check):
    """What the backends would answer: `OK` unless said otherwise, by fingerprint."""

    def __init__(self) -> None:
        self.answers: dict[str, Outcome | Exception] = {}
        self.takes: dict[str, float] = {}
        self.asked: dict[str, list[float]] = defaultdict(list)
        self.under_way: Counter[str] = Counter()
        self.forgotten: list[str] = []

    async def check(self, target: Target) -> Outcome:
        self.asked[target.fingerprint].append(now())
        assert self.under_way[target.fingerprint] == 0, "doubled"
        self.under_way[target.fingerprint] += 1
        try:
            await asyncio.sleep(self.takes.get(target.fingerprint, 0.0))
        finally:
            self.under_way[target.fingerprint] -= 1
        answer = self.answers.get(target.fingerprint, OK)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def forget(self, target: Target) -> None:
        self.forgotten.append(target.fingerprint)


class Fleet:
    """A monitor over scripted backends, in fast-forward."""

    def __init__(
        self, clock: FakeClock | None = None, doubted: Callable[[str], None] | None = None, **limits: int
    ) -> None:
        self.backends = Backends()
        self.changes: list[Change] = []
        self.clock = clock or FakeClock()
        self.monitor = Monitor(
            check=self.backends,
            changed=self.changes.append,
            doubted=doubted,
            clock=self.clock,
            rng=random.Random(7),
            **limits,
        )

    def seen(self, name: str, owner: str = "uid") -> Snapshot:
        return {snapshot.name: snapshot for snapshot in self.monitor.snapshots(owner)}[name]

    def runs(self, act: Act) -> None:
        async def scenario() -> None:
            async with asyncio.TaskGroup() as group:
                loop = group.create_task(self.monitor.run())
                await act()
                loop.cancel()

        run(scenario())

    async def until_open(self, name: str) -> Snapshot:
        async with asyncio.timeout(1000):
            while self.seen(name).circuit is not Circuit.OPEN:  # noqa: ASYNC110 - as a user would look
                await asyncio.sleep(0.05)
        return self.seen(name)

    @property
    def transitions(self) -> list[tuple[Circuit, Circuit]]:
        moved = [change.transition for change in self.changes if change.transition]
        return [(transition.before, transition.after) for transition in moved]
