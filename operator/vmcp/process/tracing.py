"""Traces of reconciles and probes, for whoever runs a collector: OTEL_EXPORTER_OTLP_ENDPOINT says where it is.

Without that variable nothing of OpenTelemetry is imported and nothing is wrapped. Needs the extra `otel`.
"""

import logging
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import vmcp
from vmcp.health.monitor import Check
from vmcp.health.outcome import Outcome
from vmcp.health.target import Target

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SERVICE = "vmcp-operator"
SHUTDOWN_MS = 2000

K = TypeVar("K")
log = logging.getLogger(__name__)


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
    """By the environment: none where no collector is named, or where the extra is not installed, which is said."""
    if not os.environ.get(ENDPOINT):
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but nothing is traced: install vmcp-operator[otel]", ENDPOINT)
        return Tracing()
    resource = Resource.create({"service.name": SERVICE, "service.version": vmcp.__version__})
    provider = TracerProvider(resource=resource)
    # Exports in a thread of its own; its queue is bounded, and what does not fit is dropped.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer(SERVICE), provider.shutdown)
