"""Whatever a client posts, the edge answers with an answer of the protocol and never with a failure of its own."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.world import Running, backend, config, entry, gateway_thread

METHODS = [
    "initialize",
    "ping",
    "tools/list",
    "tools/call",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "notifications/cancelled",
    "server/discover",
    "no/such",
    "",
]
NAMES = ["alpha_add", "alpha_whoami", "alpha_greet", "demo://alpha/doc", "demo://alpha/item/1", "x", ""]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=10)
    | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
refs = st.fixed_dictionaries(
    {"type": st.sampled_from(["ref/prompt", "ref/resource", "x"]) | values}, optional={"name": values, "uri": values}
)
members = {
    "name": values,
    "uri": values,
    "arguments": values,
    "cursor": values,
    "level": values,
    "ref": refs | values,
    "argument": values,
    "_meta": values,
    "requestId": values,
    "protocolVersion": values,
}
params = st.fixed_dictionaries({}, optional=members) | values
messages = st.fixed_dictionaries(
    {"method": st.sampled_from(METHODS) | values},
    optional={"jsonrpc": st.just("2.0") | values, "id": values, "params": params, "result": values, "error": values},
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "MCP-Protocol-Version": st.sampled_from(["2025-11-25", "2026-07-28", "x", ""]),
        "Mcp-Method": st.sampled_from(METHODS),
        "Mcp-Name": st.sampled_from([*NAMES, "=?base64?@@?="]),
        "Accept": st.sampled_from(["application/json", "text/event-stream", "application/json, text/event-stream"]),
    },
)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, httpx.Client, str]]:
    with backend("alpha") as alpha:
        content = config(entry("alpha", alpha.url))
        with gateway_thread(tmp_path_factory.mktemp("gateway"), content) as running, httpx.Client(timeout=30) as http:
            init = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": init}
            answer = http.post(running.url, json=body, headers={"Accept": "*/*"})
            yield running, http, answer.headers["mcp-session-id"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(message=messages | values | st.lists(messages, max_size=2), head=headers, session=st.booleans())
def test_any_json_gets_an_answer_of_the_protocol(
    speaker: tuple[Running, httpx.Client, str], message: Any, head: dict[str, str], session: bool
) -> None:
    running, http, ident = speaker
    if isinstance(message, dict) and message.get("method") == "subscriptions/listen":
        return
    sent = head | ({"Mcp-Session-Id": ident} if session else {})
    sent = {"Accept": "*/*", "Content-Type": "application/json"} | {
        name: value for name, value in sent.items() if value
    }
    answer = http.post(running.url, content=json.dumps(message).encode(), headers=sent)
    assert answer.status_code in (200, 202, 400, 404, 406), answer.text
    if answer.status_code in (200, 400, 404) and answer.headers["content-type"] == "application/json":
        content = answer.json()
        for each in content if isinstance(content, list) else [content]:
            assert ("result" in each) != ("error" in each)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_get_a_client_error(speaker: tuple[Running, httpx.Client, str], body: bytes) -> None:
    running, http, ident = speaker
    answer = http.post(running.url, content=body, headers={"Content-Type": "application/json", "Mcp-Session-Id": ident})
    assert answer.status_code in (202, 400)
