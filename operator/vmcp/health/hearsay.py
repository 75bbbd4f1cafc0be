"""What gateways say of a backend, and what it does: it makes checks due, adds to a message, tells what is withheld.

Pure: time is an argument, monotonic seconds. What gateways say comes from pods, so that its effect is bounded here:
a pause between two rows of checks, and a row ends with the first check that does not fail; a backend is called
withheld for a while only, and only where its headers come from a Secret.
"""

import math

from vmcp.health.breaker import Breaker
from vmcp.health.snapshot import Circuit

SUSPECT_PAUSE_S = 0.25
"""Between the checks of a row."""

SUSPECT_AGAIN_S = 1.0
"""Between the last check of a row and the first of the next."""

REPORT_LATE_S = 2.0
"""A gateway's report may be under way for so long."""

WITHHELD_S = 90.0
"""A gateway's word that it lacks a header's value counts for so long: it says so every half minute."""


class Hearsay:
    """What was said of one backend.

    Attributes:
        failing_since: when the first of the failures in a row was found, None while there is none.
        reachable_until: until when it counts that a gateway reaches the backend.
        withheld_until: until when it counts that a gateway does not call it.
    """

    __slots__ = ("_left", "_quiet_until", "failing_since", "reachable_until", "withheld_until")

    def __init__(self) -> None:
        self._left = 0
        self._quiet_until = -math.inf
        self.failing_since: float | None = None
        self.reachable_until = 0.0
        self.withheld_until = 0.0

    def suspected(self, breaker: Breaker, checks: int, now: float) -> float | None:
        """Calls fail: when a row of so many checks is due; None where one is under way or the circuit is not closed."""
        self.reachable_until = 0.0
        if self._left or breaker.circuit is not Circuit.CLOSED:
            return None
        self._left = checks
        return max(now, self._quiet_until)

    def reached(self, at: float, until: float) -> bool:
        """Calls succeeded at that time; whether it is believed: not where the backend may have failed for us later."""
        if self.failing_since is not None and at - REPORT_LATE_S <= self.failing_since:
            return False
        self.reachable_until = until
        return True

    def checked(self, before: Breaker, after: Breaker, now: float) -> bool:
        """A check ended. Whether the next one comes after `SUSPECT_PAUSE_S`: the row is not over, and it failed."""
        if not after.failures:
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = now
        if self._left:
            self._quiet_until = now + SUSPECT_AGAIN_S
        failed = after.failures > before.failures
        self._left = self._left - 1 if self._left and failed and after.circuit is Circuit.CLOSED else 0
        return self._left > 0
