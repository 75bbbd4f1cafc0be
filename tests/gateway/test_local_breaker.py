"""The local breaker in a whole gateway, with real servers, where the next probe is half a minute away."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, MCPError
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import BackendServer, Running, backend, config, entry, gateway, until

RARELY = {
    "healthCheckInterval": "30s",
    "healthCheckTimeout": "10s",
    "partialFailureMode": "best_effort",
    # So many that the own monitor, which looks at once when calls fail, does not open it before the third call.
    "circuitBreaker": {"enabled": True, "failureThreshold": 12},
}
OFF = RARELY | {"circuitBreaker": {"enabled": False}}


class Moody(Scripted):
    """A Legacy server that, while it has a mood, answers `tools/call` with that status and body instead."""

    def __init__(self) -> None:
        super().__init__({"tools/call": b'{"content":[]}'}, modern=False)
        self.mood: tuple[int, bytes] | None = None
        self.calls = 0

    async def _send(self, send: Any, status: int, body: bytes) -> None:
        if self.requests and self.requests[-1]["method"] == "tools/call":
            self.calls += 1
            if self.mood is not None:
                status, body = self.mood
        await super()._send(send, status, body)


@contextlib.contextmanager
def moody() -> Iterator[tuple[Moody, str]]:
    app = Moody()
    server = BackendServer(lambda: app)
    server.start()
    try:
        yield app, server.url
    finally:
        server.stop()


def rarely(*entries: dict[str, Any], handling: dict[str, Any] = RARELY) -> dict[str, Any]:
    return config(*entries, operational={"failureHandling": handling})


@pytest.mark.parametrize("kind", ["modern", "legacy", "sse"])
async def test_a_backend_killed_under_traffic_fails_fast_after_three_calls(tmp_path: Path, kind: str) -> None:
    heard: list[str] = []

    async def on_message(message: Any) -> None:
        heard.append(type(getattr(message, "root", message)).__name__)

    with backend("alpha", kind) as alpha, backend("beta", kind) as beta:
        backends = [entry(each, server.url) for each, server in (("alpha", alpha), ("beta", beta))]
        if kind == "sse":
            backends = [each | {"transport": "sse"} for each in backends]
        async with (
            gateway(tmp_path, rarely(*backends)) as running,
            Client(running.url, mode="legacy", message_handler=on_message) as client,
        ):
            await until(lambda: healths_are(running, alpha="healthy", beta="healthy"))
            assert (await client.call_tool("beta_whoami", {})).structured_content == {"result": "beta"}
            heard.clear()
            beta.stop()
            errors = [await failing(client, "beta_whoami") for _ in range(3)]
            assert not any("circuit" in error.message for error in errors)
            refused = await failing(client, "beta_whoami")
            assert refused.code == -32003
            assert refused.message.startswith("backend 'beta' is unavailable (circuit open), retry in ")
            assert 0 < refused.data["retryAfterSeconds"] <= 3
            await until(lambda: "ToolListChangedNotification" in heard)
            assert {tool.name.partition("_")[0] for tool in (await client.list_tools()).tools} == {"alpha"}
            assert (await client.call_tool("alpha_whoami", {})).structured_content == {"result": "alpha"}
            # The own monitor has been told, and looks at once: five failures, though its interval is 30 s.
            await until(lambda: failures(running, "beta", 5))
            assert await openings(running, "beta") == 1


async def test_a_backend_that_answers_the_probe_is_back_at_once(tmp_path: Path) -> None:
    with moody() as (app, url):
        async with gateway(tmp_path, rarely(entry("a", url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: healths_are(running, a="healthy"))
            app.mood = (502, b"<html>bad gateway</html>")
            for _ in range(3):
                assert "error" in await call(client)
            app.mood = None
            assert await openings(running, "a") == 1
            await until(lambda: answers(client))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"internal"),
        (500, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"mine"}}'),
        (503, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"mine"}}'),
        (404, b"nothing here"),
        (200, b'{"jsonrpc":"2.0","id":"of another","result":{}}'),
        (200, b"no json"),
    ],
)
async def test_what_the_backend_says_itself_never_opens_it(tmp_path: Path, status: int, body: bytes) -> None:
    with moody() as (app, url):
        async with gateway(tmp_path, rarely(entry("a", url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: healths_are(running, a="healthy"))
            app.mood = (status, body)
            for _ in range(8):
                assert "error" in await call(client)
            assert app.calls == 8
            assert await openings(running, "a") == 0


async def test_without_a_breaker_in_the_policy_every_call_is_sent(tmp_path: Path) -> None:
    with moody() as (app, url):
        async with gateway(tmp_path, rarely(entry("a", url), handling=OFF)) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: healths_are(running, a="healthy"))
            app.mood = (502, b"")
            for _ in range(8):
                assert "error" in await call(client)
            assert app.calls == 8


async def test_a_tool_that_fails_or_is_slow_never_opens_it(tmp_path: Path) -> None:
    content = rarely(handling=RARELY)
    with backend("a", "legacy") as a:
        content["backends"] = [entry("a", a.url)]
        content["operational"]["timeouts"] = {"default": "300ms"}
        async with gateway(tmp_path, content) as running, Client(running.url, mode="legacy") as client:
            await until(lambda: healths_are(running, a="healthy"))
            for _ in range(4):
                assert (await client.call_tool("a_fail", {})).is_error
                await failing(client, "a_slow", {"seconds": 5})
            assert await openings(running, "a") == 0
            assert (await client.call_tool("a_whoami", {})).structured_content == {"result": "a"}


async def call(client: LegacySpeaker) -> dict[str, Any]:
    answer: httpx.Response = await client.ask("tools/call", {"name": "a_echo", "arguments": {}})
    assert answer.status_code == 200
    content: dict[str, Any] = json.loads(answer.content)
    return content


async def answers(client: LegacySpeaker) -> bool:
    return "result" in await call(client)


async def failing(client: Client, tool: str, arguments: dict[str, Any] | None = None) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await client.call_tool(tool, arguments or {})
    return caught.value


async def healths_are(running: Running, **expected: str) -> bool:
    seen = {each["name"]: each["health"] for each in (await running.get("/status")).json()["backends"]}
    return seen == expected


async def failures(running: Running, name: str, least: int) -> bool:
    seen = (await running.get("/api/backends/health")).json()["backends"][name]
    return bool(seen["ConsecutiveFailures"] >= least and seen["CircuitState"] == "open")


async def openings(running: Running, name: str) -> float:
    text = (await running.get("/metrics")).text
    prefix = f'vmcp_gateway_local_breaker_openings_total{{backend="{name}"}} '
    return sum(float(line.removeprefix(prefix)) for line in text.splitlines() if line.startswith(prefix))
