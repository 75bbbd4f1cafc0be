"""A header whose value is a Secret's reaches its backend, and nothing is called without it."""

from pathlib import Path

import pytest
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import BackendServer, config, entry, gateway, until

from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.gateway.secretheaders import with_secret_headers
from vmcp.gateway.upstream import Upstream
from vmcp.health.snapshot import Health, Snapshot
from vmcp.mcp.backend import Address, Backend
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport

VARIABLE = "TOOLHIVE_SECRET_HEADER_FORWARD_X_KEY_ALPHA_1"
BACKEND = GatewayBackend.model_validate(
    entry("alpha", "http://alpha/mcp") | {"headers": {"X-Team": "blue"}, "headersFromEnv": {"X-Key": VARIABLE}}
)


def test_the_value_joins_the_other_headers_without_the_line_break_of_an_echo() -> None:
    backend = with_secret_headers(BACKEND, {VARIABLE: "s3cret\n"})
    assert backend.headers == {"X-Team": "blue", "X-Key": "s3cret"}
    assert backend.unavailable_reason == ""


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}, {VARIABLE: " \n"}, {VARIABLE: "s3\r\ncret"}, {VARIABLE: "ü"}])
def test_without_a_usable_value_the_backend_is_never_called_and_no_value_is_told(environ: dict[str, str]) -> None:
    backend = with_secret_headers(BACKEND, environ)
    assert backend.headers == {"X-Team": "blue"}
    assert backend.unavailable_reason.startswith("header X-Key has no usable value: create its Secret")
    assert "cret" not in backend.unavailable_reason.replace("Secret", "")


def test_a_backend_without_such_headers_is_left_as_it_is() -> None:
    plain = BACKEND.model_copy(update={"headers_from_env": {}})
    assert with_secret_headers(plain, {}) is plain


async def test_every_request_to_the_backend_carries_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "s3cret")
    scripted = Scripted({"tools/call": b'{"content":[]}'}, modern=False)
    server = BackendServer(lambda: scripted)
    server.start()
    try:
        member = entry("alpha", server.url, headersFromEnv={"X-Key": VARIABLE})
        async with gateway(tmp_path, config(member)) as running:
            speaker = await LegacySpeaker.open(running)

            async def listed() -> bool:
                return "alpha_echo" in (await speaker.ask("tools/list")).text

            await until(listed)
            answer = await speaker.ask("tools/call", {"name": "alpha_echo", "arguments": {}})
            assert "result" in answer.json(), answer.text
            pages = [(await running.get(path)).text for path in ("/status", "/api/backends/health", "/metrics")]
        assert {"initialize", "tools/list", "tools/call"} <= {request["method"] for request in scripted.requests}
        assert all(headers.get("x-key") == "s3cret" for headers in scripted.headers)
        assert not any("s3cret" in page for page in pages)
    finally:
        server.stop()


async def test_a_call_to_a_backend_without_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    scripted = Scripted({}, modern=False)
    server = BackendServer(lambda: scripted)
    server.start()
    try:
        member = entry("alpha", server.url, headersFromEnv={"X-Key": VARIABLE})
        async with gateway(tmp_path, config(member)) as running:
            status = (await running.get("/status")).json()
            assert [backend["health"] for backend in status["backends"]] == ["unauthenticated"]
        assert not scripted.requests
    finally:
        server.stop()


@pytest.mark.parametrize(("headers", "used"), [({"X-Key": VARIABLE}, True), ({}, False)])
async def test_a_gateway_that_has_the_value_goes_by_that_whatever_another_one_lacks(
    headers: dict[str, str], used: bool
) -> None:
    backend = with_secret_headers(BACKEND.model_copy(update={"headers_from_env": headers}), {VARIABLE: "s3cret"})
    transport = HttpTransport(guard=AddressGuard())
    nobody = Backend(transport, Address("http://alpha/mcp"), client_name="t", client_version="0")
    upstream = Upstream(backend, nobody, fingerprint="f", timeout_s=1.0)
    upstream.see(Snapshot("alpha", "http://alpha/mcp", "f", Health.UNAUTHENTICATED))
    assert upstream.usable is used
