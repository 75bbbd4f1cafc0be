"""Whose word on health counts: the operator's while it reports, else the gateway's own monitor."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.gateway.world import config, entry, until

from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.gateway.catalog import Catalog
from vmcp.gateway.changes import Changes
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.passive import Passive
from vmcp.gateway.view import View, heartbeat_s
from vmcp.health.monitor import Check
from vmcp.health.outcome import Outcome
from vmcp.health.snapshot import Health
from vmcp.health.target import Target
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC).timestamp()


class Alive(Check):
    """Every backend answers; counts how often it was asked."""

    def __init__(self) -> None:
        self.checks = 0

    async def check(self, target: Target) -> Outcome:
        self.checks += 1
        return Outcome(latency_s=0.001)

    def forget(self, target: Target) -> None:
        pass


class Nobody:
    """Is told, and does nothing."""

    def failed(self, name: str, fingerprint: str, failures: int) -> None:
        pass

    def reached(self, name: str, fingerprint: str, at: float) -> None:
        pass


class World:
    def __init__(self, tasks: asyncio.TaskGroup, *, reported: bool, interval: str | None = None) -> None:
        self.check = Alive()
        self.now = NOW
        transport = HttpTransport(guard=AddressGuard())
        catalog = Catalog(Changes())
        metrics = Metrics()
        self.fleet = Fleet(transport=transport, catalog=catalog, metrics=metrics, tasks=tasks, version="0")
        passive = Passive(guard=self.fleet.guard, metrics=metrics, check=self.check, tell=Nobody())
        self.view = View(fleet=self.fleet, passive=passive, check=self.check, reported=reported, now=lambda: self.now)
        tasks.create_task(self.view.run())
        # The guard refuses it, so that nothing leaves the machine.
        backend = entry("a", "http://127.0.0.1:1/mcp", fingerprint="fa")
        content = GatewayConfig.model_validate(_with_interval(config(backend), interval))
        self.view.configure(content, self.fleet.configure(content))

    def report(self, status: str, *, fingerprint: str = "fa", age_s: float | None = 0) -> None:
        backend = {"name": "a", "targetFingerprint": fingerprint, "status": status, "circuitBreakerState": "closed"}
        document: dict[str, Any] = {"discoveredBackends": [backend]}
        if age_s is not None:
            document["lastReportTime"] = (
                datetime.fromtimestamp(self.now - age_s, UTC).isoformat().replace("+00:00", "Z")
            )
        self.view.reported(document)

    def health(self) -> Health:
        return self.fleet.upstreams["a"].snapshot.health


def _with_interval(content: dict[str, Any], interval: str | None) -> dict[str, Any]:
    handling = dict(content["operational"]["failureHandling"])
    if interval:
        handling["statusReportingInterval"] = interval
    return {**content, "operational": {"failureHandling": handling}}


@contextlib.asynccontextmanager
async def world(*, reported: bool = True, interval: str | None = None) -> AsyncIterator[World]:
    async with asyncio.timeout(60):
        try:
            async with asyncio.TaskGroup() as tasks:
                yield World(tasks, reported=reported, interval=interval)
                raise _Over
        except* _Over:
            pass


class _Over(Exception):
    pass


async def test_a_fresh_report_counts_and_nothing_is_checked() -> None:
    async with world() as it:
        it.report("unavailable")
        assert it.health() is Health.UNHEALTHY
        it.report("degraded")
        assert it.health() is Health.DEGRADED
        await asyncio.sleep(0.05)
        assert it.check.checks == 0


async def test_the_time_of_a_change_of_health_is_when_the_gateway_heard_of_it() -> None:
    async with world() as it:
        upstream = it.fleet.upstreams["a"]
        assert upstream.health_changed_at is None
        it.report("unavailable")
        fell = upstream.health_changed_at
        assert fell is not None
        it.report("unavailable")
        assert upstream.health_changed_at == fell
        it.report("ready")
        assert upstream.health_changed_at is not None
        assert upstream.health_changed_at > fell


async def test_a_report_of_another_target_says_nothing() -> None:
    async with world() as it:
        it.report("unavailable", fingerprint="other")
        assert it.health() is Health.UNKNOWN
        assert it.fleet.upstreams["a"].usable


async def test_a_report_without_a_time_is_not_old() -> None:
    async with world() as it:
        it.report("unavailable", age_s=None)
        assert not it.view.decides
        assert it.health() is Health.UNHEALTHY


@pytest.mark.parametrize(("interval", "heartbeat"), [(None, 300), ("30s", 300), ("10s", 10), ("1m30s", 90)])
async def test_two_heartbeats_without_a_report_are_too_many(interval: str | None, heartbeat: int) -> None:
    async with world(interval=interval) as it:
        it.report("unavailable", age_s=2 * heartbeat - 1)
        assert not it.view.decides
        it.report("unavailable", age_s=2 * heartbeat + 1)
        assert it.view.decides
        await until(lambda: it.health() in (Health.HEALTHY, Health.DEGRADED))
        it.report("unavailable", age_s=0)
        assert not it.view.decides
        assert it.health() is Health.UNHEALTHY


async def test_reports_that_cease_are_noticed_without_an_event() -> None:
    async with world(interval="10s") as it:
        it.report("unavailable")
        it.now += 21
        await until(lambda: it.view.decides)


async def test_without_kubernetes_the_own_monitor_decides_from_the_start() -> None:
    async with world(reported=False) as it:
        assert it.view.decides
        await until(lambda: it.health() is Health.HEALTHY)


def test_the_heartbeat_of_a_configuration() -> None:
    assert heartbeat_s(GatewayConfig.model_validate(config())) == 300
