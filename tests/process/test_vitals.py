"""What a kubelet is told."""

from dataclasses import dataclass

from vmcp.process.listener import Page
from vmcp.process.vitals import Vitals


@dataclass
class Signs:
    filled: bool = True
    watching: bool = True
    schema: str = ""
    leading: bool = True
    turned: float | None = 999.5
    heard: float = 990.0
    answered: float | None = 995.0

    def vitals(self) -> Vitals:
        return Vitals(
            now=lambda: 1000.0,
            filled=lambda: self.filled,
            watching=lambda: self.watching,
            schema_problem=lambda: self.schema,
            leading=lambda: self.leading,
            last_turn=lambda: self.turned,
            watch_heard=lambda: self.heard,
            api_answered=lambda: self.answered,
        )

    def healthz(self) -> tuple[int, str]:
        return _told(self.vitals().healthz())

    def readyz(self) -> tuple[int, str]:
        return _told(self.vitals().readyz())


def _told(page: Page) -> tuple[int, str]:
    return page.status.value, page.body.decode()


def test_leader_and_follower_are_both_ready() -> None:
    assert Signs().readyz() == (200, "leading\n")
    assert Signs(leading=False, turned=None).readyz() == (200, "following\n")


def test_empty_caches_and_old_crds_are_not_ready_and_say_so() -> None:
    status, text = Signs(filled=False, schema="CRD x lacks .status.y; run `kubectl apply`").readyz()
    assert status == 503
    assert "caches are not filled" in text
    assert "lacks .status.y; run `kubectl apply`" in text
    assert Signs(filled=False, schema="old").healthz() == (200, "ok\n")


def test_an_operator_whose_watches_never_opened_is_not_ready() -> None:
    assert Signs(watching=False).readyz() == (503, "no watch has opened yet\n")


def test_a_scheduler_that_stands_still_is_dead_but_one_that_never_began_is_not() -> None:
    assert Signs(turned=960.0).healthz() == (503, "the scheduler last turned 40 s ago\n")
    assert Signs(turned=None).healthz() == (200, "ok\n")
    assert Signs(turned=960.0, leading=False).healthz() == (200, "ok\n")


def test_watches_that_are_silent_while_the_api_server_answers_are_dead() -> None:
    status, text = Signs(heard=700.0, answered=990.0).healthz()
    assert status == 503
    assert "no watch has delivered anything for 290 s" in text


def test_an_api_server_that_is_away_is_no_reason_to_restart() -> None:
    assert Signs(heard=400.0, answered=420.0).healthz() == (200, "ok\n")
    assert Signs(heard=400.0, answered=None).healthz() == (200, "ok\n")
