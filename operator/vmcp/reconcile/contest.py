"""Fields of ours that another manager changes again and again: put right at once, then ever more slowly. Pure."""

from dataclasses import dataclass
from typing import Final

FIRST_WAIT_S: Final = 2.0
LAST_WAIT_S: Final = 300.0
TOLD_FROM: Final = 3
"""So many restorations without a calm make it a contest worth telling."""
CALM_S: Final = 2 * LAST_WAIT_S
"""So long without a restoration, it is over."""


@dataclass(frozen=True, slots=True)
class Contest:
    """How often one object was put right, without a calm between.

    Attributes:
        last_s: when it was put right last, monotonic.
        rival: the field manager that wrote before that, empty where unknown.
        pending: another change waits to be put right.
    """

    restorations: int = 0
    last_s: float = 0.0
    rival: str = ""
    pending: bool = False

    def wait_s(self, now_s: float) -> float:
        """Seconds until it may be put right again."""
        if not self.restorations or self.is_over(now_s):
            return 0.0
        wait = min(LAST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.restorations - 1, 16))
        return max(0.0, self.last_s + wait - now_s)

    def is_over(self, now_s: float) -> bool:
        """Whether it has been calm for long enough."""
        return now_s - self.last_s >= CALM_S

    def restored(self, rival: str, now_s: float) -> "Contest":
        """The contest after the object was put right once more."""
        before = 0 if self.is_over(now_s) else self.restorations
        return Contest(before + 1, now_s, rival)


def told(kind: str, name: str, contest: Contest) -> str:
    """The contest in a sentence that says what to do."""
    who = f"field manager {contest.rival}" if contest.rival else "another field manager"
    return (
        f"{kind} {name}: {who} keeps changing what this operator sets; it was put right {contest.restorations} times "
        f"and is now put right less and less often; stop that manager, or have it set other fields"
    )
