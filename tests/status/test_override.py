"""What a person overrules, and what the prober doubts, as the status tells it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.health.fleet import target
from tests.status.test_document import FOUND, HEALTHY, NOW, UNHEALTHY, condition

from vmcp.api.operational import FailureHandling, OverrideMode
from vmcp.api.status import HandledRequest, RequestAction
from vmcp.health import tracker
from vmcp.health.policy import policy_of
from vmcp.health.record import Record
from vmcp.health.snapshot import Circuit, Health, Override, Snapshot
from vmcp.status.document import document
from vmcp.status.news import has_news, is_urgent
from vmcp.status.recall import read_status, recall

FORCED_CLOSED = replace(UNHEALTHY, override=Override(OverrideMode.FORCED_CLOSED, NOW, NOW + 60, "known to be fine"))
FORCED_OPEN = replace(
    HEALTHY, health=Health.UNHEALTHY, circuit=Circuit.OPEN, override=Override(OverrideMode.FORCED_OPEN, NOW)
)


def written(*snapshots: Snapshot) -> dict[str, object]:
    status = document(FOUND, snapshots, None, NOW)
    content: dict[str, object] = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return content


def test_an_override_is_told_with_mode_since_until_and_reason_and_read_back() -> None:
    status = written(FORCED_CLOSED)
    (shown,) = status["discoveredBackends"]  # type: ignore[misc]
    assert shown["override"] == {
        "mode": "forcedClosed",
        "since": "2026-09-21T14:13:20.750Z",
        "until": "2026-09-21T14:14:20.750Z",
        "reason": "known to be fine",
    }
    assert recall(status)[UNHEALTHY.name].override == FORCED_CLOSED.override


def test_a_backend_that_is_forced_closed_is_counted_and_shown_as_measured() -> None:
    status = document(FOUND, [FORCED_CLOSED, HEALTHY], None, NOW)
    assert (status.phase, status.backend_count) == ("Ready", 2)
    degraded = condition(status, "Degraded")
    assert degraded.status == "True"
    assert "unavailable, forced closed until 2026-09-21T14:14:20Z (known to be fine)" in degraded.message


def test_a_backend_that_is_forced_open_is_out_and_the_message_says_by_whom() -> None:
    status = document(FOUND, [FORCED_OPEN], None, NOW)
    assert status.backend_count == 0
    assert "forced open" in condition(status, "Ready").message
    assert status.discovered_backends is not None
    assert status.discovered_backends[0].circuit_open_until is None


def test_an_override_is_news_and_is_not_twice() -> None:
    before, after = document(FOUND, [UNHEALTHY], None, NOW), document(FOUND, [FORCED_CLOSED], None, NOW)
    assert has_news(before, after)
    assert is_urgent(UNHEALTHY, FORCED_CLOSED)
    assert not has_news(read_status(written(FORCED_CLOSED)), after)


def test_a_handled_request_is_news_and_is_not_twice() -> None:
    moment = datetime.fromtimestamp(int(NOW), UTC)
    handled = HandledRequest(action=RequestAction.RESET, backend="a", token="1", time=moment)
    before = document(FOUND, [HEALTHY], None, NOW)
    after = document(replace(FOUND, handled_requests=(handled,)), [HEALTHY], None, NOW)
    assert has_news(before, after)
    stored = read_status(after.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert not has_news(stored, after)
    assert stored is not None
    assert stored.handled_requests == [handled]


def test_a_doubt_in_the_prober_is_a_condition() -> None:
    believed = condition(document(FOUND, [HEALTHY], None, NOW), "ProbingHealthy")
    doubted = condition(document(replace(FOUND, doubted=True), [HEALTHY], None, NOW), "ProbingHealthy")
    assert (believed.status, believed.reason) == ("True", "ProbesTrusted")
    assert (doubted.status, doubted.reason) == ("False", "ProbesDoubted")


@pytest.mark.parametrize("mode", OverrideMode)
@pytest.mark.parametrize("until", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.9Z", "9999-12-31T23:59:59.9999999Z"])
def test_what_is_meant_as_for_ever_is_told_too(mode: OverrideMode, until: str) -> None:
    spec = {"perBackend": {"search": {"override": {"mode": mode, "until": until}}}}
    policy = policy_of(FailureHandling.model_validate(spec), "search")
    record, _ = tracker.adopt(Record(), policy, 0.0, NOW)
    (shown,) = written(tracker.snapshot_of(record, target("search", policy=policy)))["discoveredBackends"]  # type: ignore[misc]
    assert shown["override"]["until"] == "9999-12-31T23:59:59.000Z"
    assert "until 9999-12-31T23:59:59Z" in shown["message"]
