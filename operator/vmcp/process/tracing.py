"""Traces of reconciles and probes, for whoever runs a collector (`vmcp.otlp`); else nothing is wrapped."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from vmcp.health.monitor import Check
from vmcp.health.outcome import Outcome
from vmcp.health.target import Target
from vmcp.otlp import collector

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

SERVICE = "vmcp-operator"

K = TypeVar("K")


class Tracing:
    """Wraps what is traced; without a tracer everything stays as it is."""

    def __init__(self, tracer: "Tracer | None" = None, shutdown: Callable[[], None] = lambda: None) -> None:
        self._tracer = tracer
        self.shutdown = shutdown

    def check(self, check: Check) -> Check:
        """The check, each with a span."""
        return check if self._tracer is None else _TracedCheck(check, self._tracer)

    def reconcile(self, reconcile: Callable[[K], Awaitable[float | None]]) -> Callable[[K], Awaitable[float | None]]:
        """The reconcile, each with a span."""
        tracer = self._tracer
        if tracer is None:
            return reconcile

        async def traced(key: K) -> float | None:
            with tracer.start_as_current_span("reconcile", attributes={"k8s.object": str(key)}):
                return await reconcile(key)

        return traced


class _TracedCheck(Check):
    def __init__(self, check: Check, tracer: "Tracer") -> None:
        self._check = check
        self._tracer = tracer

    async def check(self, target: Target) -> Outcome:
        with self._tracer.start_as_current_span("probe", attributes={"vmcp.backend": target.name}) as span:
            outcome = await self._check.check(target)
            span.set_attribute("vmcp.outcome", str(outcome.category or "ok"))
            return outcome

    def forget(self, target: Target) -> None:
        self._check.forget(target)


def tracing() -> Tracing:
    """By the environment."""
    found = collector(SERVICE)
    return Tracing() if found is None else Tracing(found.tracer, found.shutdown)
