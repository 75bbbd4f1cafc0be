"""The gateway's Lease: what is told, how often, and that nothing piles up."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from tests.health.fakeclock import FakeClock, run

from vmcp.api.category import ErrorCategory
from vmcp.api.passive import ANNOTATION, MOST_BACKENDS, PassiveReport, load_report
from vmcp.gateway.hint import Hint
from vmcp.gateway.kubewatch import ServiceAccount
from vmcp.mcp.transport import Request, Response, Transport, TransportError


class Answer(Response):
    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}

    async def read(self, *, limit: int, timeout: float) -> bytes:
        raise AssertionError("nobody reads it")

    def chunks(self, *, idle_timeout: float) -> None:  # type: ignore[override]
        raise AssertionError("nobody reads it")

    def close(self) -> None:
        pass


class ApiServer(Transport):
    """Takes patches, and answers with the next of `answers`, 200 when there is none."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.answers: list[int | TransportError] = []

    async def send(
        self, request: Request, *, timeout: float, fresh: bool = False, reuse_idle_seconds: float = 60.0
    ) -> Response:
        self.requests.append(request)
        self.times.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, TransportError):
            raise answer
        return Answer(answer)

    async def close(self) -> None:
        pass

    @property
    def reports(self) -> list[PassiveReport]:
        texts = [json.loads(request.body)["metadata"]["annotations"][ANNOTATION] for request in self.requests]
        reports = [load_report(text) for text in texts]
        assert all(report is not None for report in reports)
        return [report for report in reports if report is not None]


class World:
    def __init__(self, folder: Path) -> None:
        (folder / "token").write_text("secret\n")
        (folder / "ca.crt").write_text("PEM")
        self.server = ApiServer()
        self.hint = Hint(
            transport=self.server,
            account=ServiceAccount("https://10.0.0.1:443", folder),
            namespace="prod",
            name="front",
            replica="front-7d-x",
            clock=FakeClock(),
        )

    def runs(self, act: Callable[[], Awaitable[None]]) -> None:
        async def scenario() -> None:
            async with asyncio.TaskGroup() as group:
                loop = group.create_task(self.hint.run())
                await act()
                loop.cancel()

        run(scenario())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_first_failure_is_told_at_once_in_our_own_lease(world: World) -> None:
    async def act() -> None:
        world.hint.failed("a", "f", 3)
        await asyncio.sleep(0.01)

    world.runs(act)
    (request,) = world.server.requests
    assert request.method == "PATCH"
    path = "/apis/coordination.k8s.io/v1/namespaces/prod/leases/front-vmcp?fieldManager=vmcp-gateway"
    assert request.url == f"https://10.0.0.1:443{path}"
    assert ("Authorization", "Bearer secret") in request.headers
    assert ("Content-Type", "application/merge-patch+json") in request.headers
    (report,) = world.server.reports
    assert report.replica == "front-7d-x"
    (sighting,) = report.backends
    assert (sighting.name, sighting.fingerprint, sighting.failures) == ("a", "f", 3)


def test_a_backend_that_is_withheld_is_told_as_such(world: World) -> None:
    async def act() -> None:
        world.hint.withheld("a", "f")
        await asyncio.sleep(0.01)

    world.runs(act)
    (report,) = world.server.reports
    (sighting,) = report.backends
    assert (sighting.name, sighting.fingerprint, sighting.failures, sighting.withheld) == ("a", "f", 0, True)


def test_at_most_one_patch_a_second_with_the_latest_of_each_backend(world: World) -> None:
    async def act() -> None:
        for number in range(1, 101):
            world.hint.failed("a", "f", number)
            world.hint.reached("b", "g", asyncio.get_running_loop().time() - 0.5)
            await asyncio.sleep(0.05)
        await asyncio.sleep(5)

    world.runs(act)
    gaps = [later - earlier for earlier, later in zip(world.server.times, world.server.times[1:], strict=False)]
    assert 5 <= len(world.server.times) <= 7
    assert min(gaps) > 0.999
    last = {sighting.name: sighting for sighting in world.server.reports[-1].backends}
    assert last["a"].failures == 100
    assert last["b"].reached_seconds_ago is not None
    assert len({report.time for report in world.server.reports}) == len(world.server.reports)


def test_many_backends_are_told_in_turn(world: World) -> None:
    async def act() -> None:
        for number in range(100):
            world.hint.failed(f"backend-{number}", "f" * 16, 3)
        await asyncio.sleep(20)

    world.runs(act)
    reports = world.server.reports
    assert max(len(report.backends) for report in reports) == MOST_BACKENDS
    assert {sighting.name for report in reports for sighting in report.backends} == {
        f"backend-{number}" for number in range(100)
    }
    assert len(reports) == 7


def test_what_could_not_be_told_is_told_later_ever_more_rarely_and_then_never(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def act() -> None:
        world.server.answers = [403, 403, TransportError(ErrorCategory.CONNECT, "refused"), 200]
        world.hint.failed("a", "f", 3)
        await asyncio.sleep(30)
        assert len(world.server.times) == 4
        world.server.answers = [403] * 100
        world.hint.failed("b", "f", 3)
        await asyncio.sleep(600)
        assert len(world.server.times) <= 12

    world.runs(act)
    assert [record.message for record in caplog.records].count(
        "the operator cannot be told of backends: the patch of our Lease was answered with HTTP 403"
    ) == 2


def test_an_account_that_cannot_be_read_is_no_fault(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "token").unlink()

    async def act() -> None:
        world.hint.failed("a", "f", 3)
        await asyncio.sleep(5)
        (tmp_path / "token").write_text("secret")
        await asyncio.sleep(10)

    world.runs(act)
    assert len(world.server.requests) == 1
