"""One target's record, and the outcomes that its checks have."""

from vmcp.api.category import ErrorCategory
from vmcp.health import tracker
from vmcp.health.outcome import Outcome
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.record import Record
from vmcp.health.snapshot import Circuit, Snapshot
from vmcp.health.target import Target

WALL = 1_800_000_000.0
OK = Outcome(latency_s=0.01, mcp_revision="2025-11-25")
SLOW = Outcome(latency_s=6.0)
REFUSED = Outcome(ErrorCategory.CONNECT, detail="connection refused")
LIMITED = Outcome(ErrorCategory.RATE_LIMITED, latency_s=0.01, retry_after_s=120.0)
BUSY = Outcome(ErrorCategory.OVERLOADED, retry_after_s=20.0)
DENIED = Outcome(ErrorCategory.AUTH_REQUIRED, latency_s=0.01)
GIVEN_UP = Outcome(ErrorCategory.CANCELLED)

THRESHOLDS_ONLY = HealthPolicy()
WITH_BREAKER = HealthPolicy(breaker=BreakerPolicy(enabled=True))


class Backend:
    """One target's record, driven as the monitor drives it."""

    def __init__(self, policy: HealthPolicy = WITH_BREAKER, *, auth: bool = False) -> None:
        self.target = Target("search", "http://search/mcp", policy, auth_configured=auth, fingerprint="f")
        self.record = Record()
        self.now = 0.0
        self.due = 0.0

    @property
    def snapshot(self) -> Snapshot:
        return tracker.snapshot_of(self.record, self.target)

    def checked(self, *outcomes: Outcome, took: float = 0.0) -> Snapshot:
        """Check when due, once for each outcome."""
        for outcome in outcomes:
            self.now = max(self.now, self.due)
            policy = self.target.policy
            self.record, _ = tracker.begin(self.record, policy, self.now, WALL + self.now, 0.5, 10.5)
            assert tracker.may_check(self.record)
            self.now += took
            self.record, _ = tracker.observe(self.record, outcome, self.target, self.now, WALL + self.now, 0.5)
            self.due = tracker.next_due(self.record, policy, self.now - took, self.now, 0.5)
        return self.snapshot

    @property
    def wait(self) -> float:
        return self.due - self.now

    def opened(self) -> "Backend":
        self.checked(*[REFUSED] * 5)
        assert self.record.breaker.circuit is Circuit.OPEN
        return self
