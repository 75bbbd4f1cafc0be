import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.health.faults.scripts import FAULTS, Fault
from tests.mcp.rawserver import LegacyServer, Seen, answer, modern, raw_server

from vmcp.api.category import ErrorCategory
from vmcp.health.outcome import MEANINGS, Outcome, Reading, reading_of
from vmcp.health.policy import HealthPolicy
from vmcp.health.probe import Probe
from vmcp.health.target import Target
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport


@pytest.fixture
async def probe() -> AsyncIterator[Probe]:
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
    probe = Probe(transport)
    yield probe
    await probe.close()
    await transport.close()


def target(url: str, timeout_s: float = 10.0, **more: Any) -> Target:
    return Target("b", url, HealthPolicy(timeout_s=timeout_s), **more)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_fault_has_its_category_and_a_sentence(probe: Probe, fault: Fault) -> None:
    timeout_s = 0.6 if fault.category is ErrorCategory.TIMEOUT else 10.0
    async with raw_server(fault.script) as server:
        for _ in range(2):
            outcome = await probe.check(target(server.url, timeout_s))
            assert outcome.category is fault.category, outcome
            assert fault.says in outcome.detail
            assert "Traceback" not in outcome.detail
            assert "<" not in outcome.detail
            if fault.retry_after_s is None:
                assert outcome.retry_after_s is None
            else:
                at_least, at_most = fault.retry_after_s
                assert at_least <= (outcome.retry_after_s or 0) <= at_most


async def test_refused_connections_unknown_names_and_forbidden_addresses(probe: Probe) -> None:
    async with raw_server(modern) as server:
        url = server.url
    assert (await probe.check(target(url))).category is ErrorCategory.CONNECT
    assert (await probe.check(target("http://no-such-host.invalid/mcp"))).category is ErrorCategory.DNS
    forbidden = await probe.check(target("http://169.254.169.254/latest"))
    assert forbidden.category is ErrorCategory.FORBIDDEN
    assert "metadata" in forbidden.detail


async def test_a_hung_backend_costs_its_timeout_and_not_more(probe: Probe) -> None:
    async def hang(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw_server(hang) as server:
        began = time.monotonic()
        outcome = await probe.check(target(server.url, 0.3))
        assert outcome.category is ErrorCategory.TIMEOUT
        # Generous for a busy machine, and far below what the server takes.
        assert 0.25 < time.monotonic() - began < 30


async def test_a_session_is_kept_and_said_farewell_to(probe: Probe) -> None:
    legacy = LegacyServer()
    async with raw_server(legacy) as server:
        for _ in range(5):
            outcome = await probe.check(target(server.url))
            assert (outcome.category, outcome.mcp_revision) == (None, "2025-11-25")
            assert outcome.latency_s is not None
        assert server.methods.count("initialize") == 1
        assert server.connections == 1
        assert "tools/call" not in server.methods
        probe.forget(target(server.url))
        await probe.close()
        assert legacy.sessions == set()


async def test_two_owners_of_one_backend_have_sessions_of_their_own(probe: Probe) -> None:
    async with raw_server(LegacyServer()) as server:
        first, second = target(server.url, owner="uid-1"), target(server.url, owner="uid-2")
        assert (await probe.check(first)).category is None
        assert (await probe.check(second)).category is None
        probe.forget(first)
        assert (await probe.check(second)).category is None
        assert server.methods.count("initialize") == 2


async def test_a_changed_fingerprint_starts_afresh(probe: Probe) -> None:
    legacy = LegacyServer()
    async with raw_server(legacy) as server:
        await probe.check(target(server.url, fingerprint="a"))
        await probe.check(target(server.url, fingerprint="b"))
        assert server.methods.count("initialize") == 2


async def test_an_idle_connection_that_the_server_closed_is_no_outcome(probe: Probe) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        # every connection serves one request and is reset by the next
        if [other.connection for other in server.requests].count(seen.connection) > 1:
            writer.transport.abort()
        else:
            await modern(seen, writer)

    async with raw_server(script) as server:
        for _ in range(5):
            assert (await probe.check(target(server.url))).category is None


@pytest.mark.parametrize("stuck", ["hangs", "500", "html"])
async def test_a_stuck_session_does_not_look_dead_for_ever(probe: Probe, stuck: str) -> None:
    legacy = LegacyServer()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        second = seen.message.get("method") == "ping" and server.methods.count("ping") > 1
        if not second or seen.headers["mcp-session-id"] != "session-1":
            await legacy(seen, writer)
        elif stuck == "hangs":
            await asyncio.sleep(60)
        elif stuck == "500":
            writer.write(answer("500 Internal Server Error"))
        else:
            writer.write(answer("200 OK", b"<html>", kind="text/html"))

    async with raw_server(script) as server:
        # Only what hangs costs the whole timeout.
        timeout_s = 3.0 if stuck == "hangs" else 10.0
        found = [(await probe.check(target(server.url, timeout_s))).category is None for _ in range(4)]
        assert found == [True, False, True, True]


async def test_a_session_outlives_a_server_that_cannot_be_reached(probe: Probe) -> None:
    legacy = LegacyServer()
    async with raw_server(legacy) as server:
        await probe.check(target(server.url))
    assert (await probe.check(target(server.url))).category is ErrorCategory.CONNECT
    async with raw_server(legacy, port=server.port) as again:
        assert (await probe.check(target(again.url))).category is None
        assert again.methods == ["ping"]


async def test_a_cancelled_check_leaves_the_probe_usable(probe: Probe) -> None:
    async def hang(_: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw_server(hang) as server:
        check = asyncio.create_task(probe.check(target(server.url)))
        await asyncio.sleep(0.1)
        check.cancel()
        with pytest.raises(asyncio.CancelledError):
            await check
        server.script = modern
        assert (await probe.check(target(server.url))).category is None


async def test_secrets_in_a_url_stay_out_of_the_sentence(probe: Probe) -> None:
    async with raw_server(modern) as server:
        port = server.port
    for url in (
        f"http://user:hunter2@127.0.0.1:{port}/mcp?token=hunter2",
        "http://user:hunter2@[/",
        "http://user:hunter2@a:b/",
        "http://hunter2 x/",
        "hunter2",
    ):
        outcome = await probe.check(target(url))
        assert outcome.category in (ErrorCategory.CONNECT, ErrorCategory.PROTOCOL)
        assert "hunter2" not in outcome.detail
    secret = (("authorization", "Bearer hunter2\r\nx: y"),)
    outcome = await probe.check(target(f"http://127.0.0.1:{port}/", headers=secret))
    assert outcome.category is ErrorCategory.PROTOCOL
    assert "hunter2" not in outcome.detail


async def test_credentials_that_the_gateway_has_are_mentioned(probe: Probe) -> None:
    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("401 Unauthorized"))

    async with raw_server(script) as server:
        outcome = await probe.check(target(server.url, auth_configured=True))
        assert "the credentials that the gateway has" in outcome.detail


@pytest.mark.parametrize(
    ("category", "auth_configured", "deferred_before", "reading"),
    [
        (None, False, False, Reading.ALIVE),
        (ErrorCategory.AUTH_REQUIRED, True, False, Reading.ALIVE),
        (ErrorCategory.AUTH_REQUIRED, False, False, Reading.UNAUTHENTICATED),
        (ErrorCategory.RATE_LIMITED, False, False, Reading.SLOW_OR_LIMITED),
        (ErrorCategory.OVERLOADED, False, False, Reading.DEFERRED),
        (ErrorCategory.OVERLOADED, False, True, Reading.FAILED),
        (ErrorCategory.CANCELLED, False, True, Reading.NOTHING),
        (ErrorCategory.TIMEOUT, True, True, Reading.FAILED),
        (ErrorCategory.HTTP_5XX, False, False, Reading.FAILED),
    ],
)
def test_what_a_category_says_of_the_backend(
    category: ErrorCategory | None, auth_configured: bool, deferred_before: bool, reading: Reading
) -> None:
    outcome = Outcome(category)
    assert reading_of(outcome, auth_configured=auth_configured, deferred_before=deferred_before) is reading


def test_every_category_has_a_meaning() -> None:
    assert set(MEANINGS) == {None, *ErrorCategory}
