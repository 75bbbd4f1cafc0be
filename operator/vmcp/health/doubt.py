"""The prober's doubt in itself (design §3 rule 7): when most of a fleet begins to fail at once, it may be us.

The idea: a target that answered and now fails by dns, connect or timeout *begins to fail*. When, within one
interval, over half of the targets that answer or just ceased to, 10 of them at least, began to fail, and on 3
hosts at least, then our own network is the likelier cause, and such failures are not believed: states freeze.
Targets that failed before, or never answered, prove nothing either way and are not counted.

Belief returns when at most half of them still fail, and after `LONGEST_INTERVALS` intervals in any case: an outage
that is real must not be hidden for ever, and the gateways' own breakers cover for it meanwhile. Whatever still
fails then is no longer beginning to, so the same outage is not doubted twice.
"""

import heapq
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FEWEST_TARGETS = 10
FEWEST_HOSTS = 3

LONGEST_INTERVALS = 3.0
"""States stay frozen for this many intervals at most, the longest one of the targets that began to fail."""


@dataclass(slots=True, eq=False)
class _Observed:
    host: str
    interval_s: float
    answers: bool
    began: float | None = None


class Doubt(Generic[Key]):
    """Who answers, who began to fail, and whether that is believed. Monotonic seconds, given by the caller.

    Attributes:
        since: when the doubt began; None while there is none.
        beginning: number of targets that began to fail within an interval, or since the doubt began.
        answering: number of targets that answered when they were last checked.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.beginning = 0
        self.answering = 0
        self._until = 0.0
        self._observed: dict[Key, _Observed] = {}
        self._began: Counter[str] = Counter()
        self._expiries: list[tuple[float, int, _Observed]] = []
        self._ticket = 0

    def watch(self, key: Key, host: str, interval_s: float, *, answers: bool) -> None:
        """A target is checked from now on. `answers`: by what is known, it answered when it was last checked."""
        self.forget(key)
        self._observed[key] = _Observed(host, interval_s, answers)
        self.answering += answers

    def forget(self, key: Key) -> None:
        """A target is checked no more."""
        observed = self._observed.pop(key, None)
        if observed is not None:
            self._leave(observed)

    def answered(self, key: Key, now: float) -> None:
        """A check of the target ended, and not by dns, connect or timeout."""
        observed = self._observed.get(key)
        if observed is not None and not observed.answers:
            self._leave(observed)
            observed.answers = True
            self.answering += 1
        self.pass_time(now)

    def failed(self, key: Key, now: float) -> bool:
        """A check of the target failed by dns, connect or timeout; whether that is to be disregarded."""
        observed = self._observed.get(key)
        if observed is not None and observed.answers:
            self._leave(observed)
            observed.began = now
            self.beginning += 1
            self._began[observed.host] += 1
            self._ticket += 1
            heapq.heappush(self._expiries, (now + observed.interval_s, self._ticket, observed))
        self.pass_time(now)
        return self.since is not None

    def pass_time(self, now: float) -> None:
        """What time does: those who began to fail long ago no longer begin to, and a doubt ends."""
        if self.since is None:
            while self._expiries and self._expiries[0][0] < now:
                due, _, observed = heapq.heappop(self._expiries)
                if observed.began is not None and observed.began + observed.interval_s <= due:
                    self._leave(observed)
            if self._is_doubtful():
                self.since = now
                self._until = now + LONGEST_INTERVALS * self._longest_interval()
        elif now >= self._until or 2 * self.beginning <= self.answering + self.beginning:
            self.since = None
            self._expiries.clear()
            for observed in self._observed.values():
                if observed.began is not None:
                    self._leave(observed)

    def _is_doubtful(self) -> bool:
        count = self.beginning + self.answering
        return count >= FEWEST_TARGETS and 2 * self.beginning > count and len(self._began) >= FEWEST_HOSTS

    def _longest_interval(self) -> float:
        return max(observed.interval_s for observed in self._observed.values() if observed.began is not None)

    def _leave(self, observed: _Observed) -> None:
        """The target is neither among those who answer nor among those who began to fail."""
        self.answering -= observed.answers
        observed.answers = False
        if observed.began is not None:
            observed.began = None
            self.beginning -= 1
            self._began[observed.host] -= 1
            if not self._began[observed.host]:
                del self._began[observed.host]
