"""One-off acts that annotations ask for: `toolhive.stacklok.dev/reset: search@2026-01-31,notes@1`. Pure.

A token is handled once. What was handled is recorded in the status, in the same write as what it did, so a restart
finds both or neither; the annotations themselves are the user's and stay.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vmcp.api.conditions import ConditionType, Reason
from vmcp.api.kinds import GROUP
from vmcp.api.status import MAX_HANDLED_REQUESTS, HandledRequest, RequestAction
from vmcp.reconcile.plan import shown
from vmcp.status.findings import Finding

EVERY_BACKEND = "*"
SHOWN_LENGTH = 80

_TOKEN = re.compile(r"[A-Za-z0-9._:+-]{1,64}")


@dataclass(frozen=True, slots=True)
class Request:
    """One act on one backend, or on every one; told apart from the same one before by its token."""

    action: RequestAction
    backend: str
    token: str


def requests_of(annotations: Mapping[str, str]) -> tuple[list[Request], list[str]]:
    """What the annotations ask for, and a sentence for each part that cannot be understood."""
    asked: dict[Request, None] = {}
    malformed: list[str] = []
    for action in RequestAction:
        annotation = f"{GROUP}/{action}"
        for part in str(annotations.get(annotation, "")).split(","):
            backend, _, token = part.strip().rpartition("@")
            if backend and _TOKEN.fullmatch(token):
                asked[Request(action, backend, token)] = None
            elif part.strip():
                malformed.append(f"{annotation}: {part.strip()[:SHOWN_LENGTH]!r} is not <backend>@<token>")
    if len(asked) > MAX_HANDLED_REQUESTS:
        malformed.append(f"more than {MAX_HANDLED_REQUESTS} requests: the last ones wait until others are removed")
    return list(asked)[:MAX_HANDLED_REQUESTS], malformed


def outstanding(asked: Sequence[Request], handled: Sequence[HandledRequest]) -> list[Request]:
    """What is asked for and was not handled."""
    done = {_request(each) for each in handled}
    return [request for request in asked if request not in done]


def remembered(asked: Sequence[Request], handled: Sequence[HandledRequest]) -> tuple[HandledRequest, ...]:
    """The last of what was handled, oldest first; what is still asked for is never forgotten, or it were done again."""
    still = [each for each in handled if _request(each) in asked][-MAX_HANDLED_REQUESTS:]
    room = MAX_HANDLED_REQUESTS - len(still)
    past = [each for each in handled if _request(each) not in asked]
    kept = still + (past[-room:] if room else [])
    return tuple(each for each in handled if each in kept)


def finding(asked: Sequence[Request], malformed: Sequence[str], waiting: Sequence[Request]) -> Finding | None:
    """The condition about the annotations; None where there are none."""
    unknown = [f"{GROUP}/{request.action}: there is no backend {request.backend!r}" for request in waiting]
    sentences = [*malformed, *unknown]
    if sentences:
        reason = Reason.REQUESTS_MALFORMED if malformed else Reason.NAMES_WITHOUT_BACKEND
        return Finding(ConditionType.REQUESTS_UNDERSTOOD, False, reason, shown(sentences))
    if not asked:
        return None
    return Finding(
        ConditionType.REQUESTS_UNDERSTOOD, True, Reason.REQUESTS_HANDLED, "what annotations ask for has been done"
    )


def _request(handled: HandledRequest) -> Request:
    return Request(handled.action, handled.backend, handled.token)
