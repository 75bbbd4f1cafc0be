"""Whether the process is alive and ready: what a kubelet asks.

Alive is what a restart would not improve. An API server that is away is no reason to restart: checks go on, and the
gateways go on by what they last read. Watches that are silent while the API server answers us are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from vmcp.process.listener import Page

SCHEDULER_LAG_MAX_S = 30.0
WATCH_SILENT_MAX_S = 180.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """Where the signs of life are read. Times are monotonic seconds.

    Attributes:
        filled: whether every kind was listed once.
        watching: whether a watch was ever open.
        schema_problem: what the served CRDs lack, empty when nothing.
        leading: whether this process does the work; one that waits for its Lease is ready too.
        last_turn: of the scheduler, None before the first.
        watch_heard: when a watch last delivered something.
        api_answered: when the API server last answered a call of ours, None before the first.
    """

    now: Callable[[], float]
    filled: Callable[[], bool]
    watching: Callable[[], bool]
    schema_problem: Callable[[], str]
    leading: Callable[[], bool]
    last_turn: Callable[[], float | None]
    watch_heard: Callable[[], float]
    api_answered: Callable[[], float | None]

    def healthz(self) -> Page:
        """200 while a restart would not help."""
        return _judged(self._deaths())

    def readyz(self) -> Page:
        """200 when this process can do its work, or take it over."""
        return _judged(self._hindrances(), "leading" if self.leading() else "following")

    def _deaths(self) -> list[str]:
        found = []
        turned = self.last_turn()
        if turned is not None and self.leading() and (lag := self.now() - turned) > SCHEDULER_LAG_MAX_S:
            found.append(f"the scheduler last turned {lag:.0f} s ago")
        answered = self.api_answered()
        if answered is not None and (silent := answered - self.watch_heard()) > WATCH_SILENT_MAX_S:
            found.append(f"the API server answers, but no watch has delivered anything for {silent:.0f} s")
        return found

    def _hindrances(self) -> list[str]:
        found = [] if self.filled() else ["the caches are not filled yet"]
        if not self.watching():
            found.append("no watch has opened yet")
        return found + [problem for problem in (self.schema_problem(),) if problem]


def _judged(problems: list[str], good: str = "ok") -> Page:
    if problems:
        return Page("".join(f"{problem}\n" for problem in problems).encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
    return Page(f"{good}\n".encode())
