"""A status that is too large loses its history first, then its texts, never a state."""

import json

from vmcp.kube.client import JsonObject
from vmcp.status.size import fitted

STATE = {"name": "a", "status": "unavailable", "circuitBreakerState": "open"}
STATUS: JsonObject = {
    "phase": "Failed",
    "discoveredBackends": [STATE | {"message": "m" * 400, "transitions": [{"reason": "r" * 400}]}],
}


def test_a_status_that_fits_is_left_as_it_is() -> None:
    assert fitted(STATUS) == STATUS


def test_history_goes_first() -> None:
    fitting = fitted(STATUS, len(json.dumps(STATUS)) - 200)

    assert fitting["discoveredBackends"] == [STATE | {"message": "m" * 400}]


def test_states_stay_whatever_the_size() -> None:
    assert fitted(STATUS, 0) == {"phase": "Failed", "discoveredBackends": [STATE]}
