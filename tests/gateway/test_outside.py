"""What passes outside of calls: subscriptions, log levels, and sessions that a client has for itself."""

import asyncio
import json
from pathlib import Path

import pytest
from mcp import Client, MCPError
from tests.gateway.asking import URI, Person, Seen, asking_backend
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import FAST, backend, config, entry, gateway, until

# Both eras are spoken here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


async def listed(client: Client) -> None:
    async def lists() -> bool:
        return bool((await client.list_tools()).tools)

    await until(lists)


def updates(person: Person) -> list[str]:
    return [
        str(message.params.uri)
        for message in person.heard
        if getattr(message, "method", "") == "notifications/resources/updated"
    ]


@pytest.mark.parametrize("kind", ["legacy", "modern", "both"])
async def test_a_legacy_client_hears_of_the_resources_that_it_subscribed_to(tmp_path: Path, kind: str) -> None:
    seen = Seen()
    with asking_backend(kind, seen) as asking:
        async with gateway(tmp_path, config(entry("a", asking.url))) as running:
            person = Person()
            async with person.client(running.url, "legacy") as client:
                await listed(client)
                await client.subscribe_resource(URI)
                if kind != "modern":
                    assert seen.subscribed == [URI]

                async def touched() -> bool:
                    await client.call_tool("a_touch", {})
                    return bool(updates(person))

                await until(touched)
                assert set(updates(person)) == {URI}
                await client.unsubscribe_resource(URI)
                assert not seen.subscribed


@pytest.mark.parametrize("kind", ["modern", "both"])
async def test_a_modern_client_hears_of_resources_on_its_subscription_stream(tmp_path: Path, kind: str) -> None:
    with asking_backend(kind) as asking:
        async with (
            gateway(tmp_path, config(entry("a", asking.url))) as running,
            Client(running.url, mode="2026-07-28", cache=None) as client,
        ):
            await listed(client)
            async with client.listen(resource_subscriptions=[URI, "asking://nobody"]) as stream:
                assert list(stream.honored.resource_subscriptions or []) == [URI]
                event = asyncio.ensure_future(anext(aiter(stream)))

                async def touched() -> bool:
                    await client.call_tool("a_touch", {})
                    return event.done()

                await until(touched)
                assert str(event.result().uri) == URI  # type: ignore[union-attr]


async def test_a_modern_client_is_subscribed_at_a_legacy_backend_for_as_long_as_it_listens(tmp_path: Path) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with (
            gateway(tmp_path, config(entry("a", asking.url))) as running,
            Client(running.url, mode="2026-07-28", cache=None) as client,
        ):
            await listed(client)
            async with client.listen(resource_subscriptions=[URI]) as stream:
                assert list(stream.honored.resource_subscriptions or []) == [URI]
                await until(lambda: seen.subscribed == [URI])


async def test_a_subscription_to_nothing_is_invalid_params(tmp_path: Path) -> None:
    with asking_backend("legacy") as asking:
        async with (
            gateway(tmp_path, config(entry("a", asking.url))) as running,
            Client(running.url, mode="legacy") as client,
        ):
            with pytest.raises(MCPError) as caught:
                await client.subscribe_resource("asking://nobody")
            assert caught.value.code == -32602


@pytest.mark.parametrize("kind", ["legacy", "modern", "both"])
async def test_log_messages_come_from_the_chosen_level_on(tmp_path: Path, kind: str) -> None:
    seen = Seen()
    with asking_backend(kind, seen) as asking:
        async with gateway(tmp_path, config(entry("a", asking.url))) as running:
            person = Person()
            async with Client(running.url, mode="legacy", logging_callback=person.log) as client:
                await listed(client)
                await client.call_tool("a_say", {})
                await until(lambda: "error" in person.logged)
                person.logged.clear()
                await client.set_logging_level("warning")
                await client.call_tool("a_say", {})
                await until(lambda: len(person.logged) >= 2)
                assert person.logged == ["warning", "error"]
                if kind != "modern":
                    assert seen.levels == ["warning"]


async def test_clients_that_cannot_be_asked_share_one_session_and_others_have_their_own(tmp_path: Path) -> None:
    seen = Seen()
    # A check that a busy machine fails would open another session.
    checks = {"failureHandling": {"healthCheckInterval": "1h", "healthCheckTimeout": "30s"}}
    with asking_backend("legacy", seen) as asking:
        async with gateway(tmp_path, config(entry("a", asking.url), operational=checks)) as running:

            async def opened(*people: Person | None) -> int:
                before = seen.methods.count("initialize")
                for person in people:
                    connect = (
                        Client(running.url, mode="legacy") if person is None else person.client(running.url, "legacy")
                    )
                    async with connect as client:
                        await listed(client)
                        for _ in range(2):
                            await client.call_tool("a_say", {})
                return seen.methods.count("initialize") - before

            async def healthy() -> bool:
                return bool((await running.get("/status")).json()["healthy"])

            # The gateway's own two sessions, for calls and for probes, are open by then.
            await until(healthy)
            await opened(None)
            assert await opened(None, None) == 0
            assert await opened(Person(), Person()) == 2
            # A client that calls nothing costs its backends nothing.
            before = len(seen.methods)
            async with Person().client(running.url, "legacy") as client:
                await client.list_tools()
            assert "initialize" not in seen.methods[before:]


async def test_a_session_of_its_own_ends_with_the_clients(tmp_path: Path) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with gateway(tmp_path, config(entry("a", asking.url))) as running:
            async with Person().client(running.url, "legacy") as client:
                await listed(client)
                await client.call_tool("a_say", {})
                assert not seen.deleted
            await until(lambda: seen.deleted)


async def test_a_restarted_backend_is_told_again_what_the_client_wants(tmp_path: Path) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with gateway(tmp_path, config(entry("a", asking.url))) as running:
            person = Person()
            async with person.client(running.url, "legacy") as client:
                await listed(client)
                await client.set_logging_level("error")
                await client.subscribe_resource(URI)
                await client.call_tool("a_say", {})
                asking.stop()
                seen.levels.clear()
                seen.subscribed.clear()
                asking.start()

                async def told() -> bool:
                    return seen.levels == ["error"] and seen.subscribed == [URI]

                await until(told)


async def test_a_call_goes_on_when_its_stream_is_lost_and_the_rest_comes_by_last_event_id(tmp_path: Path) -> None:
    with backend("alpha", "legacy") as alpha:
        async with gateway(tmp_path, config(entry("alpha", alpha.url))) as running:
            client = await LegacySpeaker.open(running)

            async def lists() -> bool:
                return bool((await client.ask("tools/list")).json()["result"]["tools"])

            await until(lists)
            seen, last = await client.interrupted("alpha_count", {"to": 40})
            assert seen
            rest = await client.resumed(last)
            assert rest[-1]["result"]["structuredContent"] == {"result": "counted"}
            steps = [each["params"]["progress"] for each in seen + rest if "method" in each]
            assert steps == list(range(40))
            # What has been told once can be told again.
            assert await client.resumed(last) == rest


async def test_an_event_that_nobody_sent_cannot_be_resumed(tmp_path: Path) -> None:
    with asking_backend("legacy") as asking:
        async with gateway(tmp_path, config(entry("a", asking.url))) as running:
            client = await LegacySpeaker.open(running)
            for event in ("7-1", "nonsense", "7-99999999999999999999999", "-", "1-"):
                answer = await client.stream(event)
                assert answer.status_code == 400, event
                assert json.loads(answer.content)["error"]["code"] == -32600


async def test_a_subscription_follows_a_backend_that_moved(tmp_path: Path) -> None:
    before, after = Seen(), Seen()
    with asking_backend("legacy", before) as old, asking_backend("legacy", after) as new:
        async with (
            gateway(tmp_path, config(entry("a", old.url))) as running,
            Person().client(running.url, "legacy") as client,
        ):
            await listed(client)
            await client.subscribe_resource(URI)
            running.write(config(entry("a", new.url)))
            await until(lambda: after.subscribed == [URI] and before.deleted)


async def test_a_modern_subscription_follows_a_backend_that_moved_and_ends_with_one_that_is_gone(
    tmp_path: Path,
) -> None:
    before, after = Seen(), Seen()
    with asking_backend("legacy", before) as old, asking_backend("legacy", after) as new:
        async with (
            gateway(tmp_path, config(entry("a", old.url))) as running,
            Client(running.url, mode="2026-07-28", cache=None) as client,
        ):
            await listed(client)
            async with client.listen(resource_subscriptions=[URI]):
                running.write(config(entry("a", new.url)))
                await until(lambda: after.subscribed == [URI] and not before.streams)
                running.write(config())
                await until(lambda: not after.streams)


async def test_a_backend_that_is_out_is_told_of_the_log_level_when_it_is_back(tmp_path: Path) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with (
            gateway(tmp_path, config(entry("a", asking.url))) as running,
            Person().client(running.url, "legacy") as client,
        ):
            await listed(client)
            await client.call_tool("a_say", {})
            out = {**FAST, "perBackend": {"a": {"override": {"mode": "forcedOpen"}}}}
            running.write(config(entry("a", asking.url), operational={"failureHandling": out}))
            await until(lambda: _lists_nothing(client))
            await client.set_logging_level("error")
            assert seen.levels == []
            running.write(config(entry("a", asking.url)))
            await until(lambda: seen.levels == ["error"])


async def test_nothing_is_kept_open_to_a_backend_that_is_out(tmp_path: Path) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with (
            gateway(tmp_path, config(entry("a", asking.url))) as running,
            Person().client(running.url, "legacy") as client,
        ):
            await listed(client)
            await client.call_tool("a_say", {})
            await until(lambda: seen.streams == 2)
            word = {"override": {"mode": "forcedOpen"}}
            handling = {**FAST, "perBackend": {"a": word}}
            running.write(config(entry("a", asking.url), operational={"failureHandling": handling}))
            await until(lambda: seen.streams == 0)
            running.write(config(entry("a", asking.url)))
            await until(lambda: seen.streams == 2)


async def _lists_nothing(client: Client) -> bool:
    return not (await client.list_tools()).tools
