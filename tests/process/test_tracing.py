"""Traces: nothing where nobody collects them, a span around each reconcile and probe where somebody does."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vmcp.api.category import ErrorCategory
from vmcp.health.monitor import Check
from vmcp.health.outcome import Outcome
from vmcp.health.policy import HealthPolicy
from vmcp.health.target import Target
from vmcp.otlp import ENDPOINT
from vmcp.process.tracing import Tracing, tracing

TARGET = Target("alpha", "http://alpha/mcp", HealthPolicy())


class Refuses(Check):
    async def check(self, target: Target) -> Outcome:
        return Outcome(ErrorCategory.CONNECT)

    def forget(self, target: Target) -> None:
        pass


class Tracer:
    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, Any]]] = []

    @contextmanager
    def start_as_current_span(self, name: str, attributes: dict[str, Any]) -> Iterator["Tracer"]:
        self.spans.append((name, dict(attributes)))
        yield self

    def set_attribute(self, name: str, value: str) -> None:
        self.spans[-1][1][name] = value


async def reconcile(key: str) -> float | None:
    return 5.0


def test_without_a_collector_nothing_is_loaded_and_nothing_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    before = set(sys.modules)
    traced, check = tracing(), Refuses()
    assert traced.check(check) is check
    assert traced.reconcile(reconcile) is reconcile
    assert not [name for name in set(sys.modules) - before if name.startswith("opentelemetry")]
    traced.shutdown()


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    check = Refuses()
    assert tracing().check(check) is check
    assert "install vmcp-operator[otel]" in caplog.text


async def test_every_reconcile_and_every_probe_is_a_span() -> None:
    tracer = Tracer()
    traced = Tracing(tracer)  # type: ignore[arg-type]
    assert await traced.reconcile(reconcile)("prod/front") == 5.0
    outcome = await traced.check(Refuses()).check(TARGET)
    assert outcome.category is ErrorCategory.CONNECT
    assert tracer.spans == [
        ("reconcile", {"k8s.object": "prod/front"}),
        ("probe", {"vmcp.backend": "alpha", "vmcp.outcome": "connect"}),
    ]
