"""One table: of code and of the documentation."""

from pathlib import Path

import pytest

from vmcp.api.category import ErrorCategory
from vmcp.health.outcome import EFFECTS, MEANINGS, Outcome, Reading, Tally, reading_of
from vmcp.health.taxonomy import page

DOCUMENT = Path(__file__).parents[2] / "docs" / "taxonomy.md"


def test_the_page_says_what_the_code_does() -> None:
    assert DOCUMENT.read_text() == page(), "run `make taxonomy`"


def test_every_category_and_every_reading_has_its_row() -> None:
    assert set(MEANINGS) == {None, *ErrorCategory}
    assert set(EFFECTS) == set(Reading)


@pytest.mark.parametrize("category", [ErrorCategory.DNS, ErrorCategory.CONNECT, ErrorCategory.TIMEOUT])
def test_what_may_be_our_own_fault_is_a_failure(category: ErrorCategory) -> None:
    assert MEANINGS[category].doubtful
    reading = reading_of(Outcome(category), auth_configured=False, deferred_before=False)
    assert EFFECTS[reading].tally is Tally.FAILURE


def test_nothing_else_is_doubted() -> None:
    assert {category for category, meaning in MEANINGS.items() if meaning.doubtful} == {
        ErrorCategory.DNS,
        ErrorCategory.CONNECT,
        ErrorCategory.TIMEOUT,
    }
