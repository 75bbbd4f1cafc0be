"""The edge answers every kind of bad request as the protocol says, and serves on."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker, events
from tests.gateway.world import Running, backend, config, entry, gateway_thread, until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with backend("alpha") as alpha:
        content = config(entry("alpha", alpha.url))
        with gateway_thread(tmp_path_factory.mktemp("gateway"), content) as running:
            yield running


@pytest.fixture
async def legacy(running: Running) -> LegacySpeaker:
    return await LegacySpeaker.open(running)


@pytest.fixture
def modern(running: Running) -> ModernSpeaker:
    return ModernSpeaker(running)


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("nonsense", "2025-11-25"),
    ],
)
async def test_initialize_agrees_on_a_legacy_version(running: Running, offered: str, agreed: str) -> None:
    params = {"protocolVersion": offered, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    answer = await running.post({"jsonrpc": "2.0", "id": "i", "method": "initialize", "params": params})
    assert answer.status_code == 200
    result = answer.json()["result"]
    assert result["protocolVersion"] == agreed
    assert result["serverInfo"]["name"] == "test"
    assert result["capabilities"]["tools"] == {"listChanged": True}
    assert result["capabilities"]["resources"]["subscribe"]
    assert len(answer.headers["mcp-session-id"]) >= 32


async def test_ping_setlevel_and_unknown_methods(legacy: LegacySpeaker) -> None:
    assert (await legacy.ask("ping")).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    assert (await legacy.ask("logging/setLevel", {"level": "error"})).json()["result"] == {}
    assert (await legacy.ask("logging/setLevel", {"level": "loud"})).json()["error"]["code"] == -32602
    answer = await legacy.ask("nope/nope")
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32601)


async def test_ids_come_back_as_they_were(legacy: LegacySpeaker) -> None:
    for ident in (0, 7, -1, "7", "", "é", 12345678901234567890):
        assert (await legacy.ask("ping", ident=ident)).json()["id"] == ident


async def test_notifications_and_responses_are_accepted(legacy: LegacySpeaker) -> None:
    for message in (
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        {"jsonrpc": "2.0", "id": 5, "result": {}},
    ):
        answer = await legacy.send(message)
        assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 100_000, -32700),
        (b'"text"', -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
    ],
)
async def test_a_body_that_is_no_message_is_refused(legacy: LegacySpeaker, body: bytes, code: int) -> None:
    answer = await legacy.send(body)
    assert answer.status_code == 400
    error = answer.json()
    assert error["id"] is None
    # A batch that is not even JSON is a batch first.
    assert error["error"]["code"] == (code if not body.startswith(b"[[") else -32600)
    assert (await legacy.ask("ping")).status_code == 200


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (b"\xff", b"{}"),
        (b"ping", b'{"\xff":1}'),
        (b"tools/call", b'{"name":"\xed\xa0\x80"}'),
        (b"tools/call", b'{"name":"alpha_add","arguments":{"a":"\xff"}}'),
        (b"initialize", b'{"protocolVersion":"2025-11-25","capabilities":{"sampling":"\xff"}}'),
    ],
)
async def test_a_body_that_is_no_text_is_refused(legacy: LegacySpeaker, method: bytes, params: bytes) -> None:
    answer = await legacy.send(b'{"jsonrpc":"2.0","id":1,"method":"%b","params":%b}' % (method, params))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32700)


async def test_a_number_that_no_float_holds_is_no_fault(running: Running) -> None:
    offered = b'{"protocolVersion":"2025-11-25","capabilities":{"experimental":{"x": 1e999},"roots":{}}}'
    answer = await running.post(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":%b}' % offered)
    assert answer.json()["result"]["protocolVersion"] == "2025-11-25"


async def test_batches_belong_to_2025_03_26(running: Running) -> None:
    old = await LegacySpeaker.open(running, "2025-03-26")
    answer = await old.send(
        [
            {"jsonrpc": "2.0", "id": 1, "method": "ping"},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "id": "b", "method": "nope"},
        ]
    )
    assert answer.status_code == 200
    assert [(each["id"], "error" in each) for each in answer.json()] == [(1, False), ("b", True)]
    only_notifications = await old.send([{"jsonrpc": "2.0", "method": "notifications/initialized"}])
    assert only_notifications.status_code == 202
    assert (await old.send([])).status_code == 400


async def test_sessions_are_asked_for(running: Running, legacy: LegacySpeaker) -> None:
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    missing = await running.post(listing)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, -32600)
    unknown = await running.post(listing, Mcp_Session_Id="nope")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, -32600)
    async with httpx.AsyncClient() as http:
        ended = await http.delete(running.url, headers={"Mcp-Session-Id": legacy.session})
        assert ended.status_code == 200
    assert (await legacy.ask("ping")).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "application/json"}, 200),
        ({"Accept": "*/*"}, 200),
        ({"Accept": "text/event-stream"}, 200),
        ({"Accept": "text/html"}, 406),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
        ({"Content_Type": "text/plain"}, 415),
        ({"MCP_Protocol_Version": "2025-06-18"}, 200),
        ({"MCP_Protocol_Version": "1999-01-01"}, 400),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Origin": "http://evil.example.com"}, 403),
        ({"Origin": "http://evil.example.com", "Host": "evil.example.com"}, 421),
        ({"Origin": "null"}, 403),
    ],
)
async def test_headers_are_judged(legacy: LegacySpeaker, headers: dict[str, str], status: int) -> None:
    assert (await legacy.ask("ping", **headers)).status_code == status


async def test_a_client_that_takes_only_streams_gets_one(legacy: LegacySpeaker) -> None:
    answer = await legacy.ask("ping", Accept="text/event-stream")
    assert answer.headers["content-type"] == "text/event-stream"
    assert events(answer.text) == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


async def test_a_body_over_the_limit_is_refused(legacy: LegacySpeaker) -> None:
    answer = await legacy.send(b" " * (4 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert (await legacy.ask("ping")).status_code == 200


async def test_other_methods_and_paths(running: Running) -> None:
    async with httpx.AsyncClient() as http:
        put = await http.put(running.url)
        assert (put.status_code, put.headers["allow"]) == (405, "GET, POST, DELETE")
        modern = await http.get(running.url, headers={"MCP-Protocol-Version": "2026-07-28"})
        assert (modern.status_code, modern.headers["allow"]) == (405, "POST")
        assert (await http.get(running.origin + "/nope")).status_code == 404
        assert (await http.post(running.origin + "/status")).status_code == 405
        assert (await http.get(running.url, headers={"Accept": "application/json"})).status_code == 406


async def test_discover_says_who_we_are(modern: ModernSpeaker) -> None:
    answer = await modern.ask("server/discover")
    assert answer.status_code == 200
    result = answer.json()["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["resultType"] == "complete"
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "test"


@pytest.mark.parametrize(
    ("method", "params", "headers", "status", "code"),
    [
        ("tools/list", {}, {"MCP_Protocol_Version": ""}, 400, -32020),
        ("tools/list", {}, {"MCP_Protocol_Version": "2027-01-01"}, 400, -32022),
        ("tools/list", {}, {"Mcp_Method": ""}, 400, -32020),
        ("tools/list", {}, {"Mcp_Method": "tools/call"}, 400, -32020),
        ("tools/call", {"name": "alpha_add"}, {"Mcp_Name": "alpha_other"}, 400, -32020),
        ("tools/call", {"name": "alpha_add"}, {"Mcp_Name": ""}, 400, -32020),
        ("tools/call", {"name": "nope"}, {}, 400, -32602),
        ("resources/read", {"uri": "demo://nope"}, {}, 400, -32602),
        ("ping", {}, {}, 404, -32601),
        ("initialize", {}, {}, 404, -32601),
        ("logging/setLevel", {"level": "info"}, {}, 404, -32601),
        ("tools/list", {"cursor": "x"}, {}, 400, -32602),
    ],
)
async def test_modern_errors_have_their_http_status(
    modern: ModernSpeaker, method: str, params: dict[str, Any], headers: dict[str, str], status: int, code: int
) -> None:
    answer = await modern.ask(method, params, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["id"] == 1


async def test_a_modern_request_needs_its_envelope(modern: ModernSpeaker) -> None:
    version = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    for meta, code in (({}, -32602), (version, -32602)):
        answer = await modern.ask("tools/list", meta=meta)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    other = {
        "io.modelcontextprotocol/protocolVersion": "2025-11-25",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    answer = await modern.ask("tools/list", meta=other)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


async def test_a_name_may_come_in_base64(modern: ModernSpeaker) -> None:
    async def called() -> bool:
        params = {"name": "alpha_whoami", "arguments": {}}
        answer = await modern.ask("tools/call", params, Mcp_Name="=?base64?YWxwaGFfd2hvYW1p?=")
        return answer.status_code == 200

    await until(called)


async def test_modern_posts_neither_batches_nor_responses(running: Running) -> None:
    for message in ([], {"jsonrpc": "2.0", "id": 1, "result": {}}):
        answer = await running.post(message, MCP_Protocol_Version="2026-07-28")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)


async def test_a_subscription_is_acknowledged_first_with_what_is_given(running: Running) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    asked = {"toolsListChanged": True, "promptsListChanged": False, "resourceSubscriptions": ["demo://x"]}
    body = {
        "jsonrpc": "2.0",
        "id": "L1",
        "method": "subscriptions/listen",
        "params": {"_meta": meta, "notifications": asked},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }
    async with httpx.AsyncClient() as http, http.stream("POST", running.url, json=body, headers=headers) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        text = ""
        async for chunk in answer.aiter_text():
            text += chunk
            if text.endswith("\n\n"):
                break
    assert events(text) == [
        {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {
                "_meta": {"io.modelcontextprotocol/subscriptionId": "L1"},
                "notifications": {"toolsListChanged": True},
            },
        }
    ]
