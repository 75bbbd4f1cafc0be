"""Who is silent for too long, in time that the watcher was awake."""

import pytest

from vmcp.gateway.workers.silence import LOOK_S, Silence

LONGEST_S = 5.0


@pytest.fixture
def silence() -> Silence:
    silence = Silence(LONGEST_S)
    for worker in (0, 1):
        silence.heard(worker)
    assert silence.look(1_000.0) == []
    return silence


def test_a_worker_without_a_sign_is_named_once_its_time_is_over(silence: Silence) -> None:
    for second in range(1, 6):
        silence.heard(0)
        assert silence.look(1_000.0 + second) == []
    silence.heard(0)
    assert silence.look(1_005.5) == [1]
    # Its death may take a moment, and is not asked for again meanwhile.
    silence.heard(0)
    assert silence.look(1_006.0) == []


def test_looks_in_quick_succession_take_no_time(silence: Silence) -> None:
    for moment in range(1, 1_000):
        assert silence.look(1_000.0 + moment / 1_000) == []


def test_a_watcher_that_slept_for_an_hour_blames_nobody(silence: Silence) -> None:
    now = 1_000.0
    for _ in range(int(LONGEST_S / LOOK_S)):
        now += 3_600
        assert silence.look(now) == []
    assert silence.look(now + 3_600) == [0, 1]


def test_a_worker_that_ended_is_not_missed_and_begins_anew_as_its_successor(silence: Silence) -> None:
    silence.forget(1)
    for second in range(1, 5):
        silence.look(1_000.0 + second)
    silence.heard(1)
    assert silence.look(1_005.0) == []
    assert silence.look(1_006.0) == [0]
