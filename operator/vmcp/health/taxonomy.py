"""The taxonomy of outcomes as a page: `python -m vmcp.health.taxonomy [--check] docs/taxonomy.md`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from vmcp.api.category import ErrorCategory
from vmcp.health.outcome import EFFECTS, MEANINGS, Meaning, Reading, Tally

GENERATED = "<!-- Generated from vmcp/health/outcome.py by `make taxonomy`; do not edit. -->\n"

_HEAD = """
# What a check can show

Every check of a backend ends in one of these. The word is the same in `.status` (`errorCategory`), in logs and in
metrics. A check that failed counts one failure; `failureThreshold` of them in a row open the circuit, and
`unhealthyThreshold` of them make the backend unavailable while it is still closed. In half-open, one failure opens it
again, and `successThreshold` successes close it.

| category | what it means | health | for the breaker | next check |
|---|---|---|---|---|
"""

_TAIL = """
While failures are counting towards a threshold, and in half-open, the next check comes after `fastInterval` instead;
while the circuit is open, at the end of its open time. A Retry-After is honoured up to 5 minutes.

Categories marked with ¹ may as well be the fault of the operator's own network: when over half of at least 10
backends that answered begin to fail by them within one interval, on at least 3 hosts, they change no state, and the
condition `ProbingHealthy` is False. That lasts until at most half of them fail, and 3 intervals at most.
"""


def page() -> str:
    """The whole page."""
    return GENERATED + _HEAD + "".join(_row(category, meaning) for category, meaning in MEANINGS.items()) + _TAIL


def _row(category: ErrorCategory | None, meaning: Meaning) -> str:
    name = "(none)" if category is None else f"`{category}`"
    cells = (
        name + ("¹" if meaning.doubtful else ""),
        meaning.sentence,
        _told(meaning, lambda reading: EFFECTS[reading].health),
        _told(meaning, lambda reading: _tally(EFFECTS[reading].tally)),
        _told(meaning, lambda reading: f"after {EFFECTS[reading].wait}"),
    )
    return f"| {' | '.join(cells)} |\n"


def _told(meaning: Meaning, tell: Callable[[Reading], str]) -> str:
    told = tell(meaning.reading)
    for reading, when in ((meaning.with_auth, "where auth is configured"), (meaning.again, "the next time")):
        if reading is not None and tell(reading) != told:
            told += f"; {when}: {tell(reading)}"
    return told


def _tally(tally: Tally) -> str:
    return "nothing" if tally is Tally.NEITHER else tally.value


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m vmcp.health.taxonomy", description="Write the taxonomy's page.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is stale")
    arguments = parser.parse_args()
    if not arguments.check:
        arguments.file.write_text(page(), "utf-8")
        return 0
    if arguments.file.is_file() and arguments.file.read_text("utf-8") == page():
        return 0
    sys.stderr.write(f"{arguments.file} is not what the code says; run `make taxonomy`\n")
    return 1


if __name__ == "__main__":
    sys.exit(_main())
