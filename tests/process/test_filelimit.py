"""Open files: the limit is raised, and one that is too low is said once."""

import resource

import pytest

from vmcp.process import filelimit as module
from vmcp.process.filelimit import RESERVE, FileLimit


class Limits:
    """Stands in for the process's limits, which a test must not lower for those that follow."""

    RLIMIT_NOFILE = resource.RLIMIT_NOFILE
    RLIM_INFINITY = resource.RLIM_INFINITY

    def __init__(self, soft: int, hard: int, *, fixed: bool = False) -> None:
        self.now = (soft, hard)
        self.fixed = fixed

    def getrlimit(self, which: int) -> tuple[int, int]:
        return self.now

    def setrlimit(self, which: int, limits: tuple[int, int]) -> None:
        if self.fixed:
            raise ValueError("not allowed to raise the limit")
        self.now = limits


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO")
    return caplog


def test_it_is_raised_to_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(1024, 4096)
    monkeypatch.setattr(module, "resource", limits)
    FileLimit()
    assert limits.now == (4096, 4096)


def test_too_many_targets_are_said_once_and_enough_again_too(
    monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "resource", Limits(1024, 1024))
    limit = FileLimit()
    limit.judge(1024 - RESERVE)
    assert warnings.messages == []
    for _ in range(3):
        limit.judge(5000)
    (said,) = warnings.messages
    assert "5000 targets need about 5256 open files, the limit is 1024" in said
    limit.judge(10)
    assert len(warnings.messages) == 2


def test_what_cannot_be_raised_is_said_and_what_has_no_limit_is_never_too_low(
    monkeypatch: pytest.MonkeyPatch, warnings: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "resource", Limits(256, 1024, fixed=True))
    FileLimit()
    assert "stays at 256" in warnings.text
    warnings.clear()
    monkeypatch.setattr(module, "resource", Limits(resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    FileLimit().judge(1_000_000)
    assert warnings.messages == []
