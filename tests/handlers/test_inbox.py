"""From the thread of the watches to the loop: the latest event of each object, once, in order."""

import asyncio
import threading
from typing import Any

import pytest

from vmcp.api.kinds import MCP_SERVER, MCP_SERVER_ENTRY, Kind
from vmcp.handlers.inbox import Inbox, Seen
from vmcp.handlers.memo import Memo
from vmcp.handlers.watchage import WatchAge


def seen(name: str, version: int = 1, *, kind: Kind = MCP_SERVER, deleted: bool = False, listed: bool = False) -> Seen:
    obj = {"metadata": {"namespace": "prod", "name": name, "resourceVersion": str(version)}}
    return Seen(kind, obj, deleted=deleted, listed=listed)


class Received:
    def __init__(self) -> None:
        self.events: list[Seen] = []
        self.threads: set[int] = set()
        self.inbox = Inbox(asyncio.get_running_loop(), self._receive)

    def _receive(self, event: Seen) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())

    @property
    def told(self) -> list[str]:
        return [f"{event.obj['metadata']['name']}@{event.obj['metadata']['resourceVersion']}" for event in self.events]


@pytest.fixture
async def received() -> Received:
    return Received()


async def test_of_one_object_only_the_latest_event_is_received(received: Received) -> None:
    for version in range(1, 100):
        received.inbox.put(seen("a", version))
    await asyncio.sleep(0)
    assert received.told == ["a@99"]


async def test_objects_are_received_in_the_order_of_their_first_arrival(received: Received) -> None:
    for name, version in (("b", 1), ("a", 2), ("b", 3), ("c", 4)):
        received.inbox.put(seen(name, version))
    await asyncio.sleep(0)
    assert received.told == ["b@3", "a@2", "c@4"]


async def test_objects_of_one_name_and_different_kinds_are_two(received: Received) -> None:
    received.inbox.put(seen("a"))
    received.inbox.put(seen("a", kind=MCP_SERVER_ENTRY))
    await asyncio.sleep(0)
    assert [event.kind for event in received.events] == [MCP_SERVER, MCP_SERVER_ENTRY]


async def test_what_is_put_later_is_received_later(received: Received) -> None:
    for version in (1, 2, 3):
        received.inbox.put(seen("a", version))
        await asyncio.sleep(0)
    assert received.told == ["a@1", "a@2", "a@3"]


async def test_that_a_watch_began_anew_is_not_lost_to_a_later_event(received: Received) -> None:
    received.inbox.put(seen("a", 1, listed=True))
    received.inbox.put(seen("a", 2, deleted=True))
    await asyncio.sleep(0)
    (event,) = received.events
    assert event.deleted
    assert event.listed


async def test_many_threads_lose_nothing_and_everything_is_received_in_the_loop(received: Received) -> None:
    def put(thread: int) -> None:
        for version in range(500):
            received.inbox.put(seen(f"t{thread}-{version % 10}", version))

    async with asyncio.TaskGroup() as group:
        for thread in range(4):
            group.create_task(asyncio.to_thread(put, thread))
    await asyncio.sleep(0)
    latest = {event.obj["metadata"]["name"]: event.obj["metadata"]["resourceVersion"] for event in received.events}
    assert latest == {f"t{thread}-{last}": str(490 + last) for thread in range(4) for last in range(10)}
    assert received.threads == {threading.get_ident()}


@pytest.mark.parametrize(
    ("event_type", "deleted", "listed"),
    [("ADDED", False, False), ("MODIFIED", False, False), ("DELETED", True, False), (None, False, True)],
)
async def test_an_event_of_a_watch_is_handed_over_as_it_is(
    received: Received, event_type: Any, deleted: bool, listed: bool
) -> None:
    Memo(received.inbox, WatchAge()).seen(MCP_SERVER, {"type": event_type, "object": seen("a").obj})  # type: ignore[typeddict-item]
    await asyncio.sleep(0)
    assert received.events == [seen("a", deleted=deleted, listed=listed)]
