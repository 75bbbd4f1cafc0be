"""Status of an MCPServer: what is worth a write."""

import asyncio

from tests.reconcile.objects import JsonObject, server

from vmcp.api.kinds import Kind
from vmcp.api.mcpserver import ServerPhase
from vmcp.kube.client import FIELD_MANAGER, Kube
from vmcp.status.servers import ServerFindings, foreign_status, server_status, write

NOW = 1_800_000_000.0
READY = ServerFindings(ServerPhase.READY, "PodsReady", "1 of 1 pods ready", "http://search/mcp", 1)


class Writes(Kube):
    """Takes writes down."""

    def __init__(self) -> None:
        self.bodies: list[JsonObject] = []

    async def apply(
        self,
        kind: Kind,
        body: JsonObject,
        *,
        subresource: str = "",
        manager: str = FIELD_MANAGER,
        dry_run: bool = False,
    ) -> JsonObject:
        assert subresource == "status"
        self.bodies.append(body)
        return body


def stored(found: ServerFindings, now: float = NOW) -> JsonObject:
    """The MCPServer with that status."""
    status = server_status(server(url=None), found, now).model_dump(mode="json", by_alias=True, exclude_none=True)
    return server(url=None) | {"status": status}


def written(before: JsonObject, found: ServerFindings) -> bool:
    kube = Writes()
    asyncio.run(write(kube, before, server_status(before, found, NOW + 60)))
    return bool(kube.bodies)


def failed(reason: str, message: str = "") -> ServerFindings:
    return ServerFindings(ServerPhase.FAILED, reason, message)


def test_the_first_status_is_written_and_the_same_is_not_written_again() -> None:
    assert written(server(url=None), READY)
    assert not written(stored(READY), READY)


def test_a_change_of_phase_reason_url_or_number_is_written() -> None:
    for other in (
        ServerFindings(ServerPhase.PENDING, "PodsReady", "", READY.url, 1),
        ServerFindings(ServerPhase.READY, "Other", "", READY.url, 1),
        ServerFindings(ServerPhase.READY, "PodsReady", "", "http://elsewhere/mcp", 1),
        ServerFindings(ServerPhase.READY, "PodsReady", "", READY.url, 2),
    ):
        assert written(stored(READY), other)


def test_a_change_of_words_rides_along() -> None:
    assert not written(stored(failed("CrashLoopBackOff", "back-off 10s")), failed("CrashLoopBackOff", "back-off 20s"))


def test_the_kubelets_two_words_for_a_failed_pull_are_one_state() -> None:
    assert not written(stored(failed("ErrImagePull")), failed("ImagePullBackOff"))
    assert written(stored(failed("ErrImagePull")), failed("CrashLoopBackOff"))


def test_a_new_generation_is_written() -> None:
    before = stored(READY)
    before["metadata"]["generation"] = 2
    assert written(before, READY)


def test_the_time_of_ready_moves_only_with_its_status() -> None:
    before = stored(failed("ErrImagePull"))
    again = server_status(before, failed("CrashLoopBackOff"), NOW + 60)
    assert again.conditions
    assert again.conditions[0].last_transition_time.timestamp() == NOW


def test_beside_another_operator_one_condition_is_ours_and_written_once() -> None:
    theirs = server(url="http://search/mcp")
    status = foreign_status(theirs, "run by another", NOW)
    assert status.model_dump(exclude_none=True).keys() == {"conditions"}
    kube = Writes()
    asyncio.run(write(kube, theirs, status))
    assert len(kube.bodies) == 1
    condition = kube.bodies[0]["status"]["conditions"][0]
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    theirs["status"] |= {"phase": "Ready", "conditions": [condition, ready]}
    asyncio.run(write(kube, theirs, foreign_status(theirs, "run by another", NOW + 60)))
    assert len(kube.bodies) == 1
