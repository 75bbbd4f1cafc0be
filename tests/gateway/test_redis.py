"""With `sessionStorage: redis` a client goes on at another replica as if it had been there all along."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from tests.gateway.asking import URI, Seen, asking_backend
from tests.gateway.processes import Process, gateway_process, held_by_a_thread
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.world import PATIENCE_S, Calls, Running, backend, config, entry, until

from vmcp.gateway.sharing import redisstorage
from vmcp_dev.redisserver import RedisServer

# The eras differ on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

ACCEPT = {"Accept": "application/json, text/event-stream"}
PASSWORD = "geheim"
DECLARED: dict[str, Any] = {"roots": {}, "elicitation": {}}
"""By which a backend tells a client's own session from those that the gateway has for itself."""


def shared(redis: RedisServer, *backends: dict[str, Any], **storage: Any) -> dict[str, Any]:
    return config(*backends, sessionStorage={"provider": "redis", "address": redis.address, **storage})


@contextlib.asynccontextmanager
async def two(folder: Path, content: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Process, Process]]:
    async with gateway_process(folder, content, **options) as one, gateway_process(folder, content, **options) as other:
        for each in (one, other):
            await until(lambda each=each: is_shared(each.running))
            await until(lambda each=each: lists(each.running, content))
        yield one, other


@pytest.fixture(scope="module")
def calls() -> Calls:
    return Calls()


@pytest.fixture(scope="module")
def pair(calls: Calls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Process]]:
    """Two replicas, for all that ends neither of them: `a` asks its clients, `d` is the demo server."""
    folder = tmp_path_factory.mktemp("replicas")
    redis = RedisServer(folder)
    redis.start()
    try:
        with asking_backend("legacy") as asking, backend("d", "legacy", calls) as demo:
            content = shared(redis, entry("a", asking.url), entry("d", demo.url))
            with held_by_a_thread(two(folder, content)) as replicas:
                yield replicas
    finally:
        redis.stop()


async def lists(running: Running, content: dict[str, Any]) -> bool:
    """Whether it knows the tools of every backend."""
    answer = await ModernSpeaker(running).ask("tools/list")
    listed = {tool["name"].partition("_")[0] for tool in answer.json()["result"]["tools"]}
    return listed == {each["name"] for each in content["backends"]}


async def is_shared(running: Running) -> bool:
    return "vmcp_gateway_session_storage_up 1.0" in (await running.get("/metrics")).text


class Client(LegacySpeaker):
    """A client that can be asked, so that it has sessions of its own with backends; at any replica."""

    @classmethod
    async def begin(cls, running: Running) -> "Client":
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": DECLARED,
            "clientInfo": {"name": "t", "version": "0"},
        }
        answer = await running.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        return cls(running, answer.headers["mcp-session-id"])

    def at(self, served: Process) -> "Client":
        """The same client, at this replica."""
        return Client(served.running, self.session)

    async def calls(self, tool: str) -> bool:
        answer = await self.ask("tools/call", {"name": tool, "arguments": {}})
        return answer.status_code == 200 and '"result"' in answer.text

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[list[dict[str, Any]]]:
        """What comes on the GET stream."""
        heard: list[dict[str, Any]] = []
        opened = asyncio.Event()

        async def listen() -> None:
            head = {"Accept": "text/event-stream", "Mcp-Session-Id": self.session}
            async with (
                httpx.AsyncClient(timeout=60) as http,
                http.stream("GET", self.running.url, headers=head) as stream,
            ):
                assert stream.status_code == 200
                opened.set()
                with contextlib.suppress(httpx.TransportError):
                    async for line in stream.aiter_lines():
                        if line.startswith("data: {"):
                            heard.append(json.loads(line[6:]))

        task = asyncio.create_task(listen())
        async with asyncio.timeout(30):
            await opened.wait()
        try:
            yield heard
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def updated(heard: list[dict[str, Any]]) -> bool:
    return any(message.get("method") == "notifications/resources/updated" for message in heard)


async def test_a_replica_that_is_killed_loses_no_client(tmp_path: Path, redis_server: RedisServer) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with two(tmp_path, shared(redis_server, entry("a", asking.url))) as (one, other):
            client = await Client.begin(one.running)
            await until(lambda: client.calls("a_say"))
            await client.ask("resources/subscribe", {"uri": URI})
            await client.ask("logging/setLevel", {"level": "error"})
            assert (seen.subscribed, seen.levels) == ([URI], ["error"])
            assert seen.opened.count(DECLARED) == 1

            one.process.kill()
            await one.process.wait()
            moved = client.at(other)
            # The session with the backend is the same: it is neither initialized, nor subscribed or told again.
            said = (await moved.ask("tools/call", {"name": "a_say", "arguments": {}})).text
            assert "error said" in said
            assert "warning said" not in said
            async with moved.listening() as heard:

                async def hears() -> bool:
                    assert await moved.calls("a_touch")
                    return updated(heard)

                await until(hears)
            assert seen.opened.count(DECLARED) == 1
            assert (seen.subscribed, seen.levels) == ([URI], ["error"])
            # It ends with the client's, wherever that was.
            async with httpx.AsyncClient(timeout=30) as http:
                gone = await http.delete(other.running.url, headers={"Mcp-Session-Id": client.session})
            assert gone.status_code == 200
            await until(lambda: seen.deleted)


async def test_a_replica_that_stops_leaves_the_backends_sessions_to_the_others(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with two(tmp_path, shared(redis_server, entry("a", asking.url))) as (one, other):
            client = await Client.begin(one.running)
            await until(lambda: client.calls("a_say"))
            one.process.terminate()
            assert await one.process.wait() == 0
            for _ in range(3):
                assert await client.at(other).calls("a_say")
            assert seen.opened.count(DECLARED) == 1


async def test_a_call_is_cancelled_at_another_replica(pair: tuple[Process, Process], calls: Calls) -> None:
    one, other = pair
    client = await Client.begin(one.running)
    await until(lambda: client.calls("d_whoami"))
    slow = asyncio.create_task(client.ask("tools/call", {"name": "d_slow", "arguments": {"seconds": 60}}))
    await until(calls.slow_started.is_set)
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert (await client.at(other).send(cancelled)).status_code == 202
    assert "Request cancelled" in (await slow).text
    await until(calls.slow_cancelled.is_set)


async def test_a_question_is_answered_at_another_replica(pair: tuple[Process, Process]) -> None:
    one, other = pair
    client = await Client.begin(one.running)
    await until(lambda: client.calls("a_say"))
    # Both have asked the client something by then: what one asks is not taken for what the other does.
    for here, there in ((one, other), (other, one), (one, other)):
        assert await answered(client.at(here), client.at(there)) == "file:///here"


async def answered(here: Client, there: Client) -> str:
    """Call a tool that asks for roots here, and answer there; what the tool says."""
    call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "a_roots", "arguments": {}}}
    head = ACCEPT | {"Mcp-Session-Id": here.session}
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream("POST", here.running.url, json=call, headers=head) as response,
    ):
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            message = json.loads(line[6:])
            if message.get("method") == "roots/list":
                roots = {"roots": [{"uri": "file:///here"}]}
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": roots}
                assert (await there.send(answer)).status_code == 202
            elif "result" in message:
                return str(message["result"]["content"][0]["text"])
    raise AssertionError("the call was not answered")


async def test_the_stream_is_where_the_client_opened_it_last(pair: tuple[Process, Process]) -> None:
    one, other = pair
    client = await Client.begin(one.running)
    await until(lambda: client.calls("a_say"))
    await client.ask("resources/subscribe", {"uri": URI})
    async with client.listening() as before, client.at(other).listening() as after:

        async def hears() -> bool:
            # The replica that the call comes to is the one that the backend tells.
            assert await client.calls("a_touch")
            return updated(after)

        await until(hears)
        count = len(before)
        assert await client.calls("a_touch")
        await until(lambda: len([each for each in after if updated([each])]) >= 2)
        assert len(before) == count


async def test_a_session_that_was_deleted_is_gone_at_every_replica(pair: tuple[Process, Process]) -> None:
    one, other = pair
    held, unknown = await Client.begin(one.running), await Client.begin(one.running)
    await until(lambda: held.at(other).calls("a_say"))
    async with httpx.AsyncClient(timeout=30) as http:
        for client in (held, unknown):
            head = {"Mcp-Session-Id": client.session}
            assert (await http.delete(one.running.url, headers=head)).status_code == 200

    async def refused(client: Client) -> bool:
        return (await client.ask("ping")).status_code == 404

    # What it holds itself it hears of a moment later; what it must ask for it knows at once.
    await until(lambda: refused(held.at(other)))
    assert await refused(unknown.at(other))


async def test_nothing_in_redis_lets_a_reader_be_the_client_and_nothing_stays(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        async with two(tmp_path, shared(redis_server, entry("a", asking.url), keyPrefix="pre:")) as (one, other):
            clients = [await Client.begin(one.running) for _ in range(3)]
            for client in clients:
                await until(lambda client=client: client.calls("a_say"))
            await clients[0].ask("resources/subscribe", {"uri": URI})
            async with httpx.AsyncClient(timeout=30) as http:
                await http.delete(other.running.url, headers={"Mcp-Session-Id": clients[2].session})
            with Redis(port=redis_server.port) as reader:
                keys = list(reader.scan_iter())
                values = [reader.get(key) or b"" for key in keys]
                assert len(keys) == 3
                assert all(key.startswith(b"pre:") and reader.ttl(key) > 0 for key in keys)
            everything = b"\n".join([*keys, *values])
            for secret in (URI, "mcp", *(client.session for client in clients)):
                assert secret.encode() not in everything


async def test_many_clients_at_once_are_no_reason_to_think_that_redis_is_away(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redisstorage, "WAIT_S", PATIENCE_S)
    storage = redisstorage.RedisStorage("127.0.0.1", redis_server.port, db=0, password="", prefix="p:")
    failures: list[None] = []
    storage.on_failure = lambda: failures.append(None)
    hearing = asyncio.create_task(storage.run(lambda news: None, lambda: None))
    try:
        assert await storage.write("key", b"kept", ttl_s=60)
        answers = await asyncio.gather(*(storage.read("key") for _ in range(20 * redisstorage.CONNECTIONS)))
        assert [list(answer) for answer in answers] == [[b"kept"]] * len(answers)
        assert storage.present
        assert not failures
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        await storage.close()


async def test_without_redis_the_gateway_serves_and_with_it_shares(tmp_path: Path, redis_server: RedisServer) -> None:
    with asking_backend("legacy") as asking:
        redis_server.kill()
        content = shared(redis_server, entry("a", asking.url))
        async with gateway_process(tmp_path, content) as one, gateway_process(tmp_path, content) as other:
            client = await Client.begin(one.running)
            await until(lambda: client.calls("a_say"))
            assert not await is_shared(one.running)
            # As without a storage, it begins anew there.
            await until(lambda: client.at(other).calls("a_say"))
            redis_server.start()
            for each in (one, other):
                await until(lambda each=each: is_shared(each.running))
            assert await client.calls("a_say")
            redis_server.kill()
            for _ in range(5):
                assert await client.calls("a_say")
                assert await (await Client.begin(other.running)).at(one).calls("a_say")
            await until(lambda: _not(is_shared(one.running)))


async def _not(value: Any) -> bool:
    return not await value


async def test_a_redis_that_hangs_fails_no_call(tmp_path: Path, redis_server: RedisServer) -> None:
    with asking_backend("legacy") as asking:
        async with two(tmp_path, shared(redis_server, entry("a", asking.url))) as (one, other):
            client = await Client.begin(one.running)
            await until(lambda: client.calls("a_say"))
            redis_server.pause()
            try:
                for _ in range(3):
                    fresh = await Client.begin(one.running)
                    assert await fresh.calls("a_say")
                    assert await fresh.at(other).calls("a_say")
                for each in (one, other):
                    await until(lambda each=each: _not(is_shared(each.running)))
                failures = (await other.running.get("/metrics")).text
                assert "vmcp_gateway_session_storage_failures_total 0.0" not in failures
            finally:
                redis_server.resume()
            for each in (one, other):
                await until(lambda each=each: is_shared(each.running))


async def test_what_ended_while_redis_was_away_at_another_replica_has_ended_when_it_is_back(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    with asking_backend("legacy") as asking:
        async with two(tmp_path, shared(redis_server, entry("a", asking.url))) as (one, other):
            client = await Client.begin(one.running)
            await until(lambda: client.calls("a_say"))
            assert await client.at(other).calls("a_say")
            # Nothing reaches the other replica, though Redis is there.
            with Redis(port=redis_server.port) as admin:
                admin.client_kill_filter(_type="pubsub")
                admin.client_kill_filter(_type="normal", skipme=True)
            async with httpx.AsyncClient(timeout=30) as http:

                async def deleted() -> bool:
                    answer = await http.delete(one.running.url, headers={"Mcp-Session-Id": client.session})
                    return answer.status_code == 404

                await until(deleted)

            async def refused() -> bool:
                return (await client.at(other).ask("ping")).status_code == 404

            await until(refused)


@pytest.mark.parametrize("right", [True, False])
async def test_the_password_comes_by_the_environment(tmp_path: Path, right: bool) -> None:
    redis = RedisServer(tmp_path, password=PASSWORD)
    redis.start()
    environ = {"THV_SESSION_REDIS_PASSWORD": PASSWORD if right else "wrong"}
    try:
        with asking_backend("legacy") as asking:
            async with gateway_process(tmp_path, shared(redis, entry("a", asking.url)), environ=environ) as served:
                client = await Client.begin(served.running)
                await until(lambda: client.calls("a_say"))
                if right:
                    await until(lambda: is_shared(served.running))
                assert await is_shared(served.running) is right
    finally:
        redis.stop()


async def test_a_worker_that_is_killed_loses_no_client_either(tmp_path: Path, redis_server: RedisServer) -> None:
    seen = Seen()
    with asking_backend("legacy", seen) as asking:
        content = shared(redis_server, entry("a", asking.url))
        async with gateway_process(tmp_path, content, workers=2) as served:
            await until(lambda: is_shared(served.running))
            clients = [await Client.begin(served.running) for _ in range(6)]
            for client in clients:
                await until(lambda client=client: client.calls("a_say"))
            assert seen.opened.count(DECLARED) == len(clients)
            for worker in served.workers():
                before = served.workers()
                os.kill(worker, 9)
                await until(lambda before=before: len(served.workers()) == 2 and served.workers() != before)

            async def all_serve() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return all([await client.calls("a_say") for client in clients])
                return False

            await until(all_serve)
            assert seen.opened.count(DECLARED) == len(clients)
