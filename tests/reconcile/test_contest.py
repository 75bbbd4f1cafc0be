"""A field of ours that another manager changes again and again is put right ever more slowly."""

from vmcp.reconcile.contest import CALM_S, LAST_WAIT_S, Contest, told


def after(restorations: int, *, began_s: float = 1000.0) -> tuple[Contest, float]:
    """The contest after so many restorations as early as each was allowed, and the time of the last."""
    contest, now_s = Contest(), began_s
    for _ in range(restorations):
        now_s += contest.wait_s(now_s)
        contest = contest.restored("rival", now_s)
    return contest, now_s


def test_the_first_change_is_put_right_at_once() -> None:
    assert Contest().wait_s(5.0) == 0.0


def test_each_further_one_waits_twice_as_long_up_to_a_bound() -> None:
    waits = [contest.wait_s(now_s) for contest, now_s in (after(count) for count in range(1, 12))]
    assert waits[:4] == [2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == LAST_WAIT_S


def test_the_wait_passes_with_time() -> None:
    contest, now_s = after(3)
    assert contest.wait_s(now_s + 5.0) == 3.0
    assert contest.wait_s(now_s + 8.0) == 0.0


def test_after_a_calm_it_begins_anew() -> None:
    contest, now_s = after(5)
    assert contest.is_over(now_s + CALM_S)
    assert contest.wait_s(now_s + CALM_S) == 0.0
    assert contest.restored("rival", now_s + CALM_S).restorations == 1


def test_it_is_told_with_the_rivals_name_and_what_to_do() -> None:
    text = told("Deployment", "gate", after(3)[0])
    assert text.startswith("Deployment gate: field manager rival keeps changing what this operator sets")
    assert "stop that manager" in text
