"""What one check of a backend showed, and what each category means for health, breaker and next check."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from vmcp.api.category import ErrorCategory


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check.

    Attributes:
        category: None when the backend simply answered.
        latency_s: how long the answer took; None without an answer.
        retry_after_s: what the backend asked for by Retry-After, in seconds.
        mcp_revision: the protocol revision that the backend speaks, empty while unknown.
        detail: one sentence for a person, without secrets or raw error text.
    """

    category: ErrorCategory | None = None
    latency_s: float | None = None
    retry_after_s: float | None = None
    mcp_revision: str = ""
    detail: str = ""


class Reading(StrEnum):
    """What an outcome says of the backend."""

    ALIVE = "alive"
    SLOW_OR_LIMITED = "degraded"
    UNAUTHENTICATED = "unauthenticated"
    FAILED = "failed"
    DEFERRED = "deferred"
    """Only the next check moves: a first 503 with Retry-After."""
    NOTHING = "nothing"
    """A cancelled check."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """How a category is read.

    Attributes:
        reading: what it says of the backend.
        with_auth: what it says where outgoing auth is configured; None = the same.
        again: what it says right after a check that was read as DEFERRED; None = the same.
    """

    reading: Reading
    with_auth: Reading | None = None
    again: Reading | None = None


MEANINGS: Mapping[ErrorCategory | None, Meaning] = MappingProxyType(
    {
        None: Meaning(Reading.ALIVE),
        ErrorCategory.DNS: Meaning(Reading.FAILED),
        ErrorCategory.FORBIDDEN: Meaning(Reading.FAILED),
        ErrorCategory.CONNECT: Meaning(Reading.FAILED),
        ErrorCategory.TLS: Meaning(Reading.FAILED),
        ErrorCategory.TIMEOUT: Meaning(Reading.FAILED),
        ErrorCategory.HTTP_4XX: Meaning(Reading.FAILED),
        ErrorCategory.HTTP_5XX: Meaning(Reading.FAILED),
        ErrorCategory.REDIRECT: Meaning(Reading.FAILED),
        ErrorCategory.RATE_LIMITED: Meaning(Reading.SLOW_OR_LIMITED),
        ErrorCategory.OVERLOADED: Meaning(Reading.DEFERRED, again=Reading.FAILED),
        ErrorCategory.AUTH_REQUIRED: Meaning(Reading.UNAUTHENTICATED, with_auth=Reading.ALIVE),
        ErrorCategory.PROTOCOL: Meaning(Reading.FAILED),
        ErrorCategory.CANCELLED: Meaning(Reading.NOTHING),
    }
)
"""The taxonomy (design §3 rule 5). An answer that is merely slow is ALIVE here; latency is judged by the tracker."""


def reading_of(outcome: Outcome, *, auth_configured: bool, deferred_before: bool) -> Reading:
    """What an outcome says of the backend.

    Args:
        auth_configured: outgoing auth is configured for the backend.
        deferred_before: the check before this one was read as DEFERRED.
    """
    meaning = MEANINGS[outcome.category]
    if auth_configured and meaning.with_auth is not None:
        return meaning.with_auth
    if deferred_before and meaning.again is not None:
        return meaning.again
    return meaning.reading
