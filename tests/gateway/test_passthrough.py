"""What the gateway does not need to understand goes through unchanged, in both directions and across the eras."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.world import BackendServer, config, entry, gateway, until


@contextlib.contextmanager
def scripted(modern: bool, **results: bytes) -> Iterator[tuple[Scripted, dict[str, Any]]]:
    app = Scripted({name.replace("__", "/"): result for name, result in results.items()}, modern=modern)
    server = BackendServer(lambda: app)
    server.start()
    try:
        yield app, config(entry("a", server.url))
    finally:
        server.stop()


async def ready(client: LegacySpeaker | ModernSpeaker) -> None:
    async def listed() -> bool:
        return bool((await client.ask("tools/list")).json()["result"]["tools"])

    await until(listed)


async def test_a_result_is_passed_on_byte_for_byte(tmp_path: Path) -> None:
    result = (
        b'{ "content" : [ ], "x-unknown":{"b":1,"a":[1.0,2e5,12345678901234567890]},  "text":"\\u00e9\\ud83d\\ude00/" }'
    )
    with scripted(False, tools__call=result) as (_, content):
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await ready(client)
            answer = await client.ask("tools/call", {"name": "a_echo"}, ident="one")
    assert answer.content == b'{"jsonrpc":"2.0","id":"one","result":' + result + b"}"


async def test_arguments_are_passed_on_and_only_the_name_changes(tmp_path: Path) -> None:
    params = {
        "name": "a_echo",
        "arguments": {"big": 12345678901234567890, "nested": [{"ä": None}]},
        "_meta": {"progressToken": 7, "com.example/trace": "x"},
        "unknown": True,
    }
    with scripted(False, tools__call=b'{"content":[]}') as (app, content):
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await ready(client)
            await client.ask("tools/call", params)
    assert app.last("tools/call")["params"] == {**params, "name": "echo"}


async def test_a_result_of_megabytes_goes_through(tmp_path: Path) -> None:
    text = "x" * (3 * 1024 * 1024)
    result = json.dumps({"content": [{"type": "text", "text": text}]}).encode()
    with scripted(False, tools__call=result) as (_, content):
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await ready(client)
            answer = await client.ask("tools/call", {"name": "a_echo"})
    assert answer.json()["result"]["content"][0]["text"] == text


async def test_unknown_members_of_listed_tools_are_kept(tmp_path: Path) -> None:
    tool = (
        b'{"name":"echo","inputSchema":{"type":"object","$defs":{"x":{"const":1.0}}},"x-new":[ 1 ],"_meta":{"k":"v"}}'
    )
    with scripted(False, tools__list=b'{"tools":[' + tool + b"]}") as (_, content):
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await ready(client)
            answer = await client.ask("tools/list")
    assert tool.replace(b'"echo"', b'"a_echo"') in answer.content


async def test_all_pages_of_a_backend_make_one_list(tmp_path: Path) -> None:
    class Paged(Scripted):
        def _result(self, method: str) -> bytes | None:
            if method == "tools/list":
                cursor = self.requests[-1].get("params", {}).get("cursor", "0")
                tool = b'{"tools":[{"name":"t%b","inputSchema":{"type":"object"}}]' % cursor.encode()
                following = int(cursor) + 1
                return tool + (b',"nextCursor":"%d"}' % following if following < 3 else b"}")
            return super()._result(method)

    server = BackendServer(lambda: Paged({}, modern=False))
    server.start()
    try:
        async with gateway(tmp_path, config(entry("a", server.url))) as running:
            client = await LegacySpeaker.open(running)
            await ready(client)
            answer = await client.ask("tools/list")
        assert [tool["name"] for tool in answer.json()["result"]["tools"]] == ["a_t0", "a_t1", "a_t2"]
        assert "nextCursor" not in answer.json()["result"]
    finally:
        server.stop()


@pytest.mark.parametrize("method", ["tools/call", "resources/read"])
async def test_a_modern_client_gets_what_a_legacy_backend_leaves_out(tmp_path: Path, method: str) -> None:
    result = b'{"content":[],"contents":[]}'
    with scripted(False, tools__call=result, resources__read=result) as (app, content):
        async with gateway(tmp_path, content) as running:
            client = ModernSpeaker(running)
            await ready(client)
            params = {"uri": "demo://doc"} if method == "resources/read" else {"name": "a_echo"}
            answer = (await client.ask(method, params)).json()["result"]
    assert answer["resultType"] == "complete"
    assert ("ttlMs" in answer) == (method == "resources/read")
    assert "io.modelcontextprotocol/protocolVersion" not in app.last(method)["params"].get("_meta", {})


async def test_a_legacy_client_is_not_shown_what_only_modern_has(tmp_path: Path) -> None:
    result = b'{"contents":[],"resultType":"complete","ttlMs":5,"cacheScope":"public","other":1}'
    with scripted(True, resources__read=result) as (_, content):
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await ready(client)
            answer = await client.ask("resources/read", {"uri": "demo://doc"})
            listing = (await client.ask("tools/list")).json()["result"]
    assert answer.json()["result"] == {"contents": [], "other": 1}
    assert set(listing) == {"tools"}


async def test_a_modern_question_passes_through_to_a_modern_client(tmp_path: Path) -> None:
    question = b'{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}},"requestState":"s"}'
    with scripted(True, tools__call=question) as (app, content):
        async with gateway(tmp_path, content) as running:
            client = ModernSpeaker(running)
            await ready(client)
            answer = await client.ask("tools/call", {"name": "a_echo"})
            assert answer.content.endswith(b'"result":' + question + b"}")
            retry = {"name": "a_echo", "inputResponses": {"k": {"roots": []}}, "requestState": "s"}
            await client.ask("tools/call", retry)
            sent = app.last("tools/call")["params"]
            assert sent["inputResponses"] == {"k": {"roots": []}}
            assert sent["requestState"] == "s"
            legacy = await LegacySpeaker.open(running)
            refused = (await legacy.ask("tools/call", {"name": "a_echo"})).json()
            assert "asks for input" in refused["error"]["message"]


async def test_names_and_header_arguments_are_rewritten_together_for_a_modern_backend(tmp_path: Path) -> None:
    schema = '{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}'
    tools = f'{{"tools":[{{"name":"echo","inputSchema":{schema}}}],"ttlMs":0,"cacheScope":"private"}}'
    with scripted(True, tools__list=tools.encode(), tools__call=b'{"content":[],"resultType":"complete"}') as it:
        app, content = it
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await ready(client)
            await client.ask("tools/call", {"name": "a_echo", "arguments": {"region": "eu"}})
    headers = app.last_headers("tools/call")
    assert headers["mcp-name"] == "echo"
    assert headers["mcp-param-region"] == "eu"


async def test_a_backends_own_error_is_passed_on(tmp_path: Path) -> None:
    with scripted(False) as (_, content):
        async with gateway(tmp_path, content) as running:
            legacy = await LegacySpeaker.open(running)
            await ready(legacy)
            answer = await legacy.ask("tools/call", {"name": "a_echo"})
            assert answer.status_code == 200
            assert answer.json()["error"] == {"code": -32601, "message": "unknown"}
