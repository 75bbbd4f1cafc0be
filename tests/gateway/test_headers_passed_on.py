"""Headers of a client reach backends when a list names them, and the trace context always; nothing else does."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.world import BackendServer, Running, config, entry, gateway, until

from vmcp.gateway.passthrough import Passthrough, beside

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def picked(*headers: tuple[bytes, bytes], names: tuple[str, ...] = ("X-Key",)) -> list[tuple[str, str]]:
    passthrough = Passthrough()
    passthrough.configure(names)
    return list(passthrough.of(list(headers)))


def test_only_what_is_listed_is_picked_in_any_case_and_as_often_as_it_came() -> None:
    assert picked((b"x-key", b"1"), (b"x-other", b"2"), (b"authorization", b"3"), (b"x-key", b"4")) == [
        ("x-key", "1"),
        ("x-key", "4"),
    ]


def test_what_never_may_pass_does_not_even_when_listed() -> None:
    names = ("Authorization", "Cookie", "Host", "Mcp-Session-Id", "Content-Length", "X-Forwarded-For")
    assert picked(*((name.lower().encode(), b"v") for name in names), names=names) == []


def test_a_header_that_connection_names_is_for_the_gateway_alone() -> None:
    assert picked((b"connection", b"close, X-Key"), (b"x-key", b"1")) == []
    assert picked((b"connection", b"keep-alive"), (b"x-key", b"1")) == [("x-key", "1")]


def test_a_value_that_is_no_plain_text_is_dropped() -> None:
    assert picked((b"x-key", b"a\tb"), (b"x-key", b"\xe9"), (b"x-key", b"a\x00")) == []


@pytest.mark.parametrize(
    ("value", "passes"),
    [(TRACE, True), (TRACE + "-more", True), (TRACE.upper(), False), ("00-1-2-3", False), ("", False)],
)
def test_the_trace_context_passes_when_it_is_one(value: str, passes: bool) -> None:
    assert picked((b"traceparent", value.encode())) == ([("traceparent", value)] if passes else [])
    assert picked((b"tracestate", b"a=" + b"b" * 600)) == []
    assert picked((b"tracestate", b"a=b")) == [("tracestate", "a=b")]


def test_a_header_of_the_backends_own_stays_alone() -> None:
    assert beside((("x-key", "theirs"), ("x-b", "1")), frozenset({"x-key"})) == (("x-b", "1"),)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=8))
def test_whatever_comes_no_value_can_end_a_header(headers: list[tuple[bytes, bytes]]) -> None:
    names = tuple(name.decode("latin-1") for name, _ in headers)
    for name, value in picked(*headers, names=names):
        assert name.isascii()
        assert not set(value) & set("\r\n\0")


async def called(running: Running, modern: bool, **headers: str) -> None:
    speaker: Any = ModernSpeaker(running) if modern else await LegacySpeaker.open(running)

    async def listed() -> bool:
        return "alpha_echo" in (await speaker.ask("tools/list")).text

    await until(listed)
    answer = await speaker.ask("tools/call", {"name": "alpha_echo", "arguments": {}}, **headers)
    assert "result" in answer.json(), answer.text


@pytest.mark.parametrize("modern", [False, True])
async def test_a_call_carries_what_is_listed_and_its_trace(tmp_path: Path, modern: bool) -> None:
    scripted = Scripted({"tools/call": b'{"content":[],"resultType":"complete"}'}, modern=modern)
    backend = BackendServer(lambda: scripted)
    backend.start()
    try:
        own = entry("alpha", backend.url, headers={"X-Own": "ours"})
        content = config(own, passthroughHeaders=["X-Tenant", "X-Own"])
        async with gateway(tmp_path, content) as running:
            sent = {
                "X_Tenant": "blue",
                "X_Own": "theirs",
                "X_Unlisted": "1",
                "Authorization": "Bearer hunter2",
                "Cookie": "a=b",
                "traceparent": TRACE,
                "tracestate": "v=1",
            }
            await called(running, modern, **sent)
            headers = scripted.last_headers("tools/call")
            assert headers["x-tenant"] == "blue"
            assert headers["x-own"] == "ours"
            assert (headers["traceparent"], headers["tracestate"]) == (TRACE, "v=1")
            assert not {"authorization", "cookie", "x-unlisted"} & headers.keys()
            assert "x-tenant" not in scripted.last_headers("tools/list")

            # The list is taken over live.
            running.write(config(own))

            async def no_longer() -> bool:
                await called(running, modern, X_Tenant="blue")
                return "x-tenant" not in scripted.last_headers("tools/call")

            await until(no_longer)
    finally:
        backend.stop()


async def test_the_trace_context_in_meta_reaches_the_backend(tmp_path: Path) -> None:
    scripted = Scripted({"tools/call": b'{"content":[]}'}, modern=False)
    backend = BackendServer(lambda: scripted)
    backend.start()
    try:
        async with gateway(tmp_path, config(entry("alpha", backend.url))) as running:
            await called(running, modern=True)
            speaker = ModernSpeaker(running)
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "traceparent": TRACE,
            }
            await speaker.ask("tools/call", {"name": "alpha_echo", "arguments": {}}, meta=meta)
            assert scripted.last("tools/call")["params"]["_meta"] == {"traceparent": TRACE}
    finally:
        backend.stop()


async def test_what_a_caller_sends_is_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = "hunter2"
    caplog.set_level("DEBUG")
    scripted = Scripted({"tools/call": b'{"content":[]}'}, modern=False)
    backend = BackendServer(lambda: scripted)
    backend.start()
    try:
        content = config(entry("alpha", backend.url, headers={"X-Own": secret}), passthroughHeaders=["X-Tenant"])
        async with gateway(tmp_path, content) as running:
            await called(running, modern=True)
            headers = {"X_Tenant": secret, "Authorization": secret, "Cookie": secret}
            params = {"name": "alpha_echo", "arguments": {"token": secret}}
            for speaker in (ModernSpeaker(running), await LegacySpeaker.open(running)):
                asked: Any = speaker
                await asked.ask("tools/call", params, **headers)
                await asked.ask("resources/read", {"uri": f"https://h/?t={secret}"}, **headers)
                await asked.ask("tools/call", {"name": secret}, **headers)
            backend.stop()
            await asked.ask("tools/call", params, **headers)
            pages = [(await running.get(path)).text for path in ("/status", "/api/backends/health", "/metrics")]
    finally:
        backend.stop()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("vmcp", "uvicorn"))]
    assert ours
    assert secret not in "".join([*ours, *pages])
