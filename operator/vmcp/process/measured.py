"""Counts what checks showed and how long they took, as plain numbers: this is the hot path."""

import time
from bisect import bisect_left

from vmcp.api.category import ErrorCategory
from vmcp.health.monitor import Check
from vmcp.health.outcome import Outcome
from vmcp.health.target import Target

DURATION_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram; one more bucket holds the rest."""


class MeasuredCheck(Check):
    """A check as before, and its counts since the start.

    Attributes:
        results: checks by category, None = the backend simply answered.
        duration_counts: finished checks per bucket of `DURATION_BOUNDS_S`, and one more.
        duration_sum_s: of finished checks.
    """

    def __init__(self, check: Check) -> None:
        self._check = check
        self.results: dict[ErrorCategory | None, int] = dict.fromkeys((None, *ErrorCategory), 0)
        self.duration_counts = [0] * (len(DURATION_BOUNDS_S) + 1)
        self.duration_sum_s = 0.0

    async def check(self, target: Target) -> Outcome:
        """What the check showed. One that is cancelled has no duration."""
        began = time.perf_counter()
        category: ErrorCategory | None = ErrorCategory.CANCELLED
        try:
            outcome = await self._check.check(target)
            category = outcome.category
        finally:
            self.results[category] += 1
        if category is not ErrorCategory.CANCELLED:
            took = time.perf_counter() - began
            self.duration_sum_s += took
            self.duration_counts[bisect_left(DURATION_BOUNDS_S, took)] += 1
        return outcome

    def forget(self, target: Target) -> None:
        """As the check does."""
        self._check.forget(target)
