"""Spans, as a collector gets them over OTLP/HTTP, and what backends are told of them."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.world import BackendServer, Running, config, entry, gateway, until

from vmcp.otlp import ENDPOINT

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET = "nobody's business"
# A page of this machine may call; a request that a page sends takes the ordinary way.
WAYS = {"short": {}, "ordinary": {"Origin": "http://localhost"}}
QUIET = {"operational": {"failureHandling": {"healthCheckInterval": "1h"}}}


class Collector:
    """An OTLP/HTTP receiver."""

    def __init__(self) -> None:
        self.raw = b""
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    async def span(self, name: str) -> Span:
        found: list[Span] = await until(lambda: [span for span in self.spans if span.name == name])
        return found[-1]


@contextmanager
def receiving() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers.get("content-encoding", "") == ""
            collector.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with receiving() as (collector, url):
        monkeypatch.setenv(ENDPOINT, url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


@pytest.fixture(params=[False, True], ids=["legacy", "modern"])
def scripted(request: pytest.FixtureRequest) -> Iterator[tuple[Scripted, str]]:
    tail = b',"resultType":"complete"}' if request.param else b"}"
    results = {
        "tools/call": b'{"content":[{"type":"text","text":"nobody\'s business"}]' + tail,
        "resources/read": b'{"contents":[]' + tail,
    }
    app = Scripted(results, modern=request.param)
    server = BackendServer(lambda: app)
    server.start()
    try:
        yield app, server.url
    finally:
        server.stop()


async def speaker(running: Running, app: Scripted) -> LegacySpeaker | ModernSpeaker:
    client = ModernSpeaker(running) if app.modern else await LegacySpeaker.open(running)

    async def listed() -> bool:
        return "s_echo" in (await client.ask("tools/list")).text

    await until(listed)
    return client


def call(app: Scripted, **meta: str) -> dict[str, Any]:
    envelope = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"} if app.modern else {}
    if app.modern:
        envelope["io.modelcontextprotocol/clientCapabilities"] = {}  # type: ignore[assignment]
    return {"name": "s_echo", "arguments": {"text": SECRET}, "_meta": {**envelope, **meta}}


def attributes(span: Span) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["headers", "_meta"])
async def test_a_call_is_a_span_between_the_client_s_and_the_backend_s(
    tmp_path: Path, collector: Collector, scripted: tuple[Scripted, str], way: str, where: str
) -> None:
    app, url = scripted
    async with gateway(tmp_path, config(entry("s", url), **QUIET)) as running:
        client = await speaker(running, app)
        if where == "headers":
            said = await client.ask("tools/call", call(app), **WAYS[way], traceparent=TRACEPARENT, tracestate="a=b")
        else:
            said = await client.ask("tools/call", call(app, traceparent=TRACEPARENT, tracestate="a=b"), **WAYS[way])
        assert SECRET in said.text
        span = await collector.span("tools/call s_echo")
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.kind == Span.SPAN_KIND_SERVER
        assert span.status.code != Status.STATUS_CODE_ERROR
        told = attributes(span)
        assert told == {
            "mcp.method.name": "tools/call",
            "mcp.protocol.version": "2026-07-28" if app.modern else "2025-11-25",
            "jsonrpc.request.id": "1",
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "s_echo",
            "vmcp.backend": "s",
            "network.protocol.name": "http",
            "network.transport": "tcp",
        }
        ours = f"00-{TRACE}-{span.span_id.hex()}-01"
        headers, meta = app.last_headers("tools/call"), app.last("tools/call")["params"]["_meta"]
        assert (headers["traceparent"], headers["tracestate"]) == (ours, "a=b")
        assert (meta["traceparent"], meta["tracestate"]) == (ours, "a=b")
        assert app.last("tools/call")["params"]["arguments"] == {"text": SECRET}


async def test_lists_are_spans_and_nothing_of_what_was_said_gets_into_any(
    tmp_path: Path, collector: Collector, scripted: tuple[Scripted, str]
) -> None:
    app, url = scripted
    async with gateway(tmp_path, config(entry("s", url), **QUIET)) as running:
        client = await speaker(running, app)
        for way in WAYS.values():
            await client.ask("tools/call", call(app), **way)
        uri = {key: value for key, value in call(app).items() if key == "_meta"} | {"uri": "demo://doc"}
        assert "contents" in (await client.ask("resources/read", uri)).text
        await collector.span("tools/list")
        read = await collector.span("resources/read")
        assert attributes(read)["vmcp.backend"] == "s"
        await until(lambda: sum(span.name == "tools/call s_echo" for span in collector.spans) == 2)
        assert collector.services == {"vmcp-gateway"}
        for secret in (SECRET, "demo://doc", getattr(client, "session", SECRET)):
            assert secret.encode() not in collector.raw


async def test_what_failed_is_told_by_its_code(
    tmp_path: Path, collector: Collector, scripted: tuple[Scripted, str]
) -> None:
    app, url = scripted
    async with gateway(tmp_path, config(entry("s", url), **QUIET)) as running:
        client = await speaker(running, app)
        await client.ask("tools/call", {**call(app), "name": "no_such"})
        unknown = await collector.span("tools/call")
        assert attributes(unknown)["error.type"] == "-32602"
        assert attributes(unknown)["rpc.response.status_code"] == "-32602"
        assert unknown.status.code == Status.STATUS_CODE_ERROR
        assert unknown.status.message == ""
        assert "vmcp.backend" not in attributes(unknown)
        tail = b',"resultType":"complete"}' if app.modern else b"}"
        app.results["tools/call"] = b'{"content":[],"isError":true' + tail
        for way in WAYS.values():
            collector.spans.clear()
            await client.ask("tools/call", call(app), **way)
            failed = await collector.span("tools/call s_echo")
            assert attributes(failed)["error.type"] == "tool_error"
            assert "rpc.response.status_code" not in attributes(failed)


async def test_a_call_that_leaves_the_short_way_is_one_span(tmp_path: Path, collector: Collector) -> None:
    # An answer that is an error is the router's.
    app = Scripted({}, modern=False)
    server = BackendServer(lambda: app)
    server.start()
    try:
        async with gateway(tmp_path, config(entry("s", server.url), **QUIET)) as running:
            client = await speaker(running, app)
            await client.ask("tools/call", call(app), traceparent=TRACEPARENT)
            await client.ask("prompts/get", {"name": "no_such"})
            await collector.span("prompts/get")
            (span,) = [span for span in collector.spans if span.name.startswith("tools/call")]
            assert attributes(span)["error.type"] == "-32601"
            assert span.trace_id.hex() == TRACE
    finally:
        server.stop()


async def test_the_sampler_of_the_environment_decides(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch, scripted: tuple[Scripted, str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    app, url = scripted
    async with gateway(tmp_path, config(entry("s", url), **QUIET)) as running:
        client = await speaker(running, app)
        await client.ask("tools/call", call(app))
        flags = int(app.last_headers("tools/call")["traceparent"].rpartition("-")[2], 16)
        assert not flags & 1, "sampled"
        await client.ask("tools/call", call(app), traceparent=TRACEPARENT)
        await collector.span("tools/call s_echo")
        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


async def test_a_collector_that_is_away_fails_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripted: tuple[Scripted, str]
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    app, url = scripted
    async with gateway(tmp_path, config(entry("s", url), **QUIET)) as running:
        client = await speaker(running, app)
        assert SECRET in (await client.ask("tools/call", call(app))).text


def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    script = (
        "import sys, vmcp.gateway.server, vmcp.otlp; assert vmcp.otlp.collector('x') is None; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
