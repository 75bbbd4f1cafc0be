"""Least privilege: what the operator may do is what it did in all scenarios before this, no more and no less."""

import pytest

from e2e.kind import Kind
from e2e.permissions import granted, granted_on, refused, used, while_installed
from e2e.release import Release
from e2e.scenario import Scenario


def test_every_right_is_used_and_none_is_missing(
    cluster: Kind, operator: Release, scenario: Scenario, request: pytest.FixtureRequest
) -> None:
    events = while_installed(cluster.audited(operator.account), operator.installed)
    may = granted(operator.objects())
    did = used(events)
    scenario.note("calls audited", len(events), "")
    scenario.note("rights granted", len(may), "")
    assert not refused(events), "asked for and refused: " + ", ".join(map(str, sorted(refused(events))))
    assert did <= may, "used, though no role of the chart grants it: " + ", ".join(map(str, sorted(did - may)))
    if request.config.getoption("-m") or request.config.getoption("-k"):
        return  # what the scenarios left out would use cannot be told
    unused = may - did - granted_on()
    assert not unused, "granted and never used: " + ", ".join(map(str, sorted(unused)))
