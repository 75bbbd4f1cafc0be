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


class Tally(StrEnum):
    """What a reading is for the circuit breaker and for the failures in a row."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEITHER = "neither"


class Wait(StrEnum):
    """When the next check comes, where nothing is decided by it: else it comes after the fast interval."""

    INTERVAL = "the interval"
    AT_LEAST_INTERVAL = "the interval, or Retry-After where that is longer"
    ASKED = "Retry-After"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a reading does. `health` says it for a reader; the tracker decides it by the rules."""

    tally: Tally
    wait: Wait
    health: str


EFFECTS: Mapping[Reading, Effect] = MappingProxyType(
    {
        Reading.ALIVE: Effect(Tally.SUCCESS, Wait.INTERVAL, "healthy, or degraded when slow"),
        Reading.SLOW_OR_LIMITED: Effect(Tally.SUCCESS, Wait.AT_LEAST_INTERVAL, "degraded"),
        Reading.UNAUTHENTICATED: Effect(Tally.SUCCESS, Wait.INTERVAL, "unauthenticated"),
        Reading.FAILED: Effect(Tally.FAILURE, Wait.INTERVAL, "unhealthy from `unhealthyThreshold` on"),
        Reading.DEFERRED: Effect(Tally.NEITHER, Wait.ASKED, "as it was"),
        Reading.NOTHING: Effect(Tally.NEITHER, Wait.INTERVAL, "as it was"),
    }
)
"""What each reading does to the record."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """How a category is read.

    Attributes:
        reading: what it says of the backend.
        phrase: the category in a few words, for messages.
        sentence: what was seen, and what a person may look at.
        with_auth: what it says where outgoing auth is configured; None = the same.
        again: what it says right after a check that was read as DEFERRED; None = the same.
        doubtful: may as well be our own network's fault (design §3 rule 7).
    """

    reading: Reading
    phrase: str
    sentence: str
    with_auth: Reading | None = None
    again: Reading | None = None
    doubtful: bool = False


MEANINGS: Mapping[ErrorCategory | None, Meaning] = MappingProxyType(
    {
        None: Meaning(Reading.ALIVE, "", "The backend answered, with a result or with a JSON-RPC error to a ping."),
        ErrorCategory.DNS: Meaning(
            Reading.FAILED,
            "host name not found",
            "The host name resolves to nothing: check the URL and the Service behind it.",
            doubtful=True,
        ),
        ErrorCategory.FORBIDDEN: Meaning(
            Reading.FAILED,
            "address not allowed",
            "The name resolves to an address that may not be called; `allowPrivateEndpoint` lets private ones pass.",
        ),
        ErrorCategory.CONNECT: Meaning(
            Reading.FAILED,
            "connection failed",
            "Refused, unreachable, or reset before an answer: nothing listens there, or a policy is in the way.",
            doubtful=True,
        ),
        ErrorCategory.TLS: Meaning(
            Reading.FAILED,
            "TLS failed",
            "The handshake failed, or the certificate is expired, of another host, or of an authority not trusted.",
        ),
        ErrorCategory.TIMEOUT: Meaning(
            Reading.FAILED,
            "no answer in time",
            "No complete answer within `healthCheckTimeout`.",
            doubtful=True,
        ),
        ErrorCategory.HTTP_4XX: Meaning(
            Reading.FAILED,
            "refused with HTTP 4xx",
            "The server has no MCP endpoint at this path, or refuses method or content type: check the URL.",
        ),
        ErrorCategory.HTTP_5XX: Meaning(
            Reading.FAILED, "server error", "A server error, whatever its body: look at the backend's log."
        ),
        ErrorCategory.REDIRECT: Meaning(
            Reading.FAILED,
            "redirects elsewhere",
            "A redirect, which is never followed: write the final URL.",
        ),
        ErrorCategory.RATE_LIMITED: Meaning(
            Reading.SLOW_OR_LIMITED,
            "rate limited",
            "429: alive, and asked to be left alone. Retry-After is honoured up to 5 minutes.",
        ),
        ErrorCategory.OVERLOADED: Meaning(
            Reading.DEFERRED,
            "overloaded",
            "503 with Retry-After: the first is excused, and only moves the next check; the next counts.",
            again=Reading.FAILED,
        ),
        ErrorCategory.AUTH_REQUIRED: Meaning(
            Reading.UNAUTHENTICATED,
            "authentication required",
            "401 or 403: alive; without outgoing auth for it the gateway cannot use it.",
            with_auth=Reading.ALIVE,
        ),
        ErrorCategory.PROTOCOL: Meaning(
            Reading.FAILED,
            "answers no MCP",
            "An answer that is not MCP: HTML, a foreign id, an endless body, an error to `initialize`.",
        ),
        ErrorCategory.CANCELLED: Meaning(
            Reading.NOTHING, "check cancelled", "The check was given up by us; it says nothing of the backend."
        ),
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
