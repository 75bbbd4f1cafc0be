"""Every feature of the TypeScript reference server is the same through the gateway as direct, after name mapping.

Not named as a test: it needs npm, so that `make conformance` runs it and `make test` does not.
"""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from tests.conformance.installed import install
from tests.conformance.rawclient import RawClient
from tests.conformance.stage import everything_server, gateway

PREFIX = "fixtures_"
_CHANGING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\d{1,4}[-/:]\d{1,2}[-/:]\d{2,4}([T ,]+[\d:.]+(Z| ?[AP]M)?)?"), "<time>"),
    (re.compile(r"\d{1,2}:\d{2}:\d{2} ?[AP]M"), "<time>"),
)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    installed = install()
    logs = tmp_path_factory.mktemp("differential")
    with everything_server(installed, logs) as direct, gateway(direct, logs, prefix_format=PREFIX) as through:
        yield direct, through


@dataclass
class Pair:
    """The same client twice."""

    direct: RawClient
    through: RawClient

    async def ask(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """The result, which is the same for both."""
        one, other = await self.direct.ask(method, params), await self.through.ask(method, params)
        assert comparable(other.response) == comparable(one.response)
        return one.response

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
        """The result of a tool; result, questions and notifications are the same for both."""
        one = await self.direct.call(tool, arguments, **more)
        other = await self.through.call(tool, arguments, **more)
        assert comparable(other.response) == comparable(one.response)
        assert comparable(other.asked) == comparable(one.asked)
        assert comparable(other.told) == comparable(one.told)
        return one


@pytest.fixture
async def pair(urls: tuple[str, str]) -> AsyncIterator[Pair]:
    async with RawClient(urls[0]) as direct, RawClient(urls[1], prefix=PREFIX) as through:
        yield Pair(direct, through)


def comparable(content: Any) -> Any:
    """Without ids, times and what else differs from call to call of one server."""
    text = json.dumps(content, sort_keys=True)
    for pattern, replacement in _CHANGING:
        text = pattern.sub(replacement, text)
    comparable = json.loads(text)
    if isinstance(comparable, dict):
        comparable.pop("id", None)
    return comparable


def unprefixed(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "name": item["name"].removeprefix(PREFIX)} for item in items]


@pytest.mark.parametrize("listed", ["tools", "prompts", "resources", "resources/templates"])
async def test_lists(pair: Pair, listed: str) -> None:
    member = "resourceTemplates" if "templates" in listed else listed
    direct = (await pair.direct.ask(f"{listed}/list")).result[member]
    through = (await pair.through.ask(f"{listed}/list")).result[member]
    assert direct
    assert all(item["name"].startswith(PREFIX) for item in through if member in ("tools", "prompts"))
    assert unprefixed(through) == direct


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("echo", {"message": "héllo\n\u2028 \U0001f600"}),
    ("echo", {}),
    ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ("get-annotated-message", {"messageType": "debug"}),
    ("get-resource-links", {"count": 3}),
    ("get-resource-reference", {"resourceType": "Text", "resourceId": 7}),
    ("get-resource-reference", {"resourceType": "Blob", "resourceId": 8}),
    ("get-resource-reference", {"resourceType": "Blob", "resourceId": -1}),
    ("get-structured-content", {"location": "Chicago"}),
    ("get-sum", {"a": 1.5, "b": 2}),
    ("get-sum", {"a": "no number", "b": 2}),
    ("get-tiny-image", {}),
    ("get-env", {}),
    ("trigger-sampling-request", {"prompt": "say it", "maxTokens": 5}),
    ("trigger-elicitation-request", {}),
    ("trigger-url-elicitation", {"url": "https://example.com/x", "elicitationId": "e1"}),
    ("trigger-url-elicitation", {"url": "https://example.com/y", "elicitationId": "e2", "errorPath": True}),
    ("simulate-research-query", {"topic": "x"}),
]


@pytest.mark.parametrize(("tool", "arguments"), CALLS)
async def test_calls(pair: Pair, tool: str, arguments: dict[str, Any]) -> None:
    await pair.call(tool, arguments)


async def test_progress(pair: Pair) -> None:
    outcome = await pair.call(
        "trigger-long-running-operation", {"duration": 0.5, "steps": 4}, _meta={"progressToken": "p"}
    )
    assert [params["progress"] for _, params in outcome.told] == [1, 2, 3, 4]


async def test_questions_reach_the_client(pair: Pair) -> None:
    asked = (await pair.call("trigger-sampling-request", {"prompt": "say it"})).asked
    assert [method for method, _ in asked] == ["sampling/createMessage"]


async def test_roots(pair: Pair) -> None:
    # The server asks for them outside of any call; through the gateway as soon as the client uses that server.
    await pair.through.call("echo", {"message": "x"})
    for client in (pair.direct, pair.through):
        assert (await client.heard("roots/list"))["method"] == "roots/list"
        message = await client.heard("notifications/message")
        assert "1 root(s)" in message["params"]["data"]
    await pair.call("get-roots-list")
    for client in (pair.direct, pair.through):
        client.outside.clear()
        await client.post({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
        await client.heard("roots/list")


@pytest.mark.parametrize(
    "uri",
    [
        "demo://resource/static/document/features.md",
        "demo://resource/dynamic/text/3",
        "demo://resource/dynamic/blob/4",
        "demo://resource/dynamic/text/none",
    ],
)
async def test_resources(pair: Pair, uri: str) -> None:
    await pair.ask("resources/read", {"uri": uri})


async def test_a_resource_made_for_one_session(pair: Pair) -> None:
    data = "data:text/plain;base64,aGVsbG8="
    read = []
    # One after the other: the server forgets the resource of one session when another makes one of that name.
    for client in (pair.direct, pair.through):
        arguments = {"name": "a.gz", "data": data, "outputType": "resourceLink"}
        made = (await client.call("gzip-file-as-resource", arguments)).result["content"][0]
        read.append((made, (await client.ask("resources/read", {"uri": made["uri"]})).result))
    assert read[1] == read[0]


@pytest.mark.parametrize(
    ("prompt", "arguments"),
    [
        ("simple-prompt", {}),
        ("args-prompt", {"city": "Rome", "state": "IT"}),
        ("args-prompt", {}),
        ("completable-prompt", {"department": "Sales", "name": "David"}),
        ("resource-prompt", {"resourceType": "Text", "resourceId": "5"}),
    ],
)
async def test_prompts(pair: Pair, prompt: str, arguments: dict[str, str]) -> None:
    direct = await pair.direct.ask("prompts/get", {"name": prompt, "arguments": arguments})
    through = await pair.through.ask("prompts/get", {"name": PREFIX + prompt, "arguments": arguments})
    assert comparable(through.response) == comparable(direct.response)


async def test_completion_of_prompts(pair: Pair) -> None:
    def params(client: RawClient) -> dict[str, Any]:
        return {
            "ref": {"type": "ref/prompt", "name": client.public("completable-prompt")},
            "argument": {"name": "name", "value": ""},
            "context": {"arguments": {"department": "Sales"}},
        }

    direct = (await pair.direct.ask("completion/complete", params(pair.direct))).result
    assert direct["completion"]["values"]
    assert (await pair.through.ask("completion/complete", params(pair.through))).result == direct


async def test_completion_of_templates(pair: Pair) -> None:
    ref = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
    await pair.ask("completion/complete", {"ref": ref, "argument": {"name": "resourceId", "value": "1"}})


async def test_subscriptions(pair: Pair) -> None:
    uri = "demo://resource/static/document/features.md"
    await pair.ask("resources/subscribe", {"uri": uri})
    await pair.call("toggle-subscriber-updates")
    for client in (pair.direct, pair.through):
        assert (await client.heard("notifications/resources/updated"))["params"] == {"uri": uri}
    await pair.call("toggle-subscriber-updates")
    await pair.ask("resources/unsubscribe", {"uri": uri})


async def test_log_messages_outside_of_calls(pair: Pair) -> None:
    await pair.ask("logging/setLevel", {"level": "debug"})
    await pair.call("toggle-simulated-logging")
    for client in (pair.direct, pair.through):
        await client.heard("notifications/message")
    await pair.call("toggle-simulated-logging")


async def test_ping(pair: Pair) -> None:
    assert (await pair.ask("ping"))["result"] == {}


async def test_tasks(pair: Pair) -> None:
    results = []
    for client in (pair.direct, pair.through):
        arguments = {"topic": "gateways", "ambiguous": False}
        created = (await client.call("simulate-research-query", arguments, task={"ttl": 60_000})).result
        task = {"taskId": created["task"]["taskId"]}
        async with asyncio.timeout(60):
            while (await client.ask("tasks/get", task)).result["status"] not in ("completed", "failed"):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        results.append((await client.ask("tasks/result", task)).response)
    assert comparable(results[1]) == comparable(results[0])


async def test_a_lost_stream_goes_on_by_last_event_id(pair: Pair) -> None:
    arguments = {"duration": 1.5, "steps": 3}
    direct = await pair.direct.call("trigger-long-running-operation", arguments)
    through = await pair.through.interrupted("trigger-long-running-operation", arguments)
    assert comparable(through.response) == comparable(direct.response)
    steps = [params["progress"] for method, params in through.told if method == "notifications/progress"]
    assert steps == [1, 2, 3]


async def sample(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    return CreateMessageResult(
        role="assistant", model="test-model", content=TextContent(type="text", text="sampled"), stop_reason="endTurn"
    )


async def elicit(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada", "interpretation": "technical"})


async def roots(context: ClientRequestContext) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri="file:///one", name="One")])  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [call for call in CALLS if not call[1].get("errorPath") and call[0] != "simulate-research-query"],
)
async def test_calls_of_the_official_client(
    urls: tuple[str, str], mode: str, tool: str, arguments: dict[str, Any]
) -> None:
    callbacks: dict[str, Any] = {
        "sampling_callback": sample,
        "elicitation_callback": elicit,
        "list_roots_callback": roots,
        "cache": None,
    }
    async with (
        Client(urls[0], mode="legacy", **callbacks) as direct,
        Client(urls[1], mode=mode, **callbacks) as through,
    ):
        one = await direct.call_tool(tool, arguments)
        other = await through.call_tool(PREFIX + tool, arguments)
    shown = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in (one, other)]
    for each in shown:
        each.pop("resultType", None)
        each.pop("_meta", None)
    assert comparable(shown[1]) == comparable(shown[0])


async def test_a_url_that_must_be_opened_first_is_shown_to_a_modern_client(urls: tuple[str, str]) -> None:
    shown: list[str] = []

    async def open_url(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        shown.append(getattr(params, "url", ""))
        return ElicitResult(action="accept")

    arguments = {"url": "https://example.com/z", "elicitationId": "e3", "errorPath": True}
    async with Client(urls[1], mode="2026-07-28", elicitation_callback=open_url, cache=None) as client:
        result = await client.call_tool(PREFIX + "trigger-url-elicitation", arguments)
    assert not result.is_error
    assert shown == ["https://modelcontextprotocol.io", "https://example.com/z"]


def test_the_official_typescript_client(urls: tuple[str, str]) -> None:
    installed = install()
    script = Path(__file__).with_name("client.mjs")
    command = [installed.node, script, installed.sdk, urls[1], PREFIX]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {
        "server": "conformance",
        "sum": "The sum of 2 and 3 is 5.",
        "progress": [1, 2],
        "asked": ["elicitation/create", "roots/list", "sampling/createMessage"],
        "updated": ["demo://resource/static/document/features.md"],
    }


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
def test_the_official_typescript_client_of_both_eras(urls: tuple[str, str], mode: str) -> None:
    installed = install()
    script = Path(__file__).with_name("modernclient.mjs")
    command = [installed.node, script, installed.client, urls[1], PREFIX, mode]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    legacy = mode == "legacy"
    document = "demo://resource/static/document/features.md"
    questions = ["elicitation/create", "sampling/createMessage"]
    assert json.loads(done.stdout) == {
        "era": "legacy" if legacy else "modern",
        "version": "2025-11-25" if legacy else "2026-07-28",
        "server": "conformance",
        "listed": [True, 7, 4],
        "sum": "The sum of 2 and 3 is 5.",
        "progress": [1, 2],
        "sampled": True,
        # A Modern client is asked in the answers to its calls only.
        "asked": sorted([*questions, "roots/list"]) if legacy else questions,
        "read": document,
        "prompt": 1,
        "honored": None if legacy else {"toolsListChanged": True, "resourceSubscriptions": [document]},
        "unknown": -32602,
    }
