"""Where spans go: to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, over OTLP/HTTP.

Without that variable nothing of OpenTelemetry is imported. Needs the extra `otel`. OTEL_TRACES_SAMPLER and the other
variables of the specification are the SDK's to read.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import vmcp

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
SHUTDOWN_S: Final = 2.0
"""A collector that is away holds up the end of the process for no longer than this."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector that takes spans.

    Attributes:
        shutdown: sends what is left; blocks for `SHUTDOWN_S` at most.
    """

    tracer: "Tracer"
    shutdown: Callable[[], None]


def collector(service: str) -> Collector | None:
    """By the environment: None where no collector is named, or where the extra is not installed, which is said."""
    if not os.environ.get(ENDPOINT):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but nothing is traced: install vmcp-operator[otel]", ENDPOINT)
        return None
    named = os.environ.get("OTEL_SERVICE_NAME") or service
    resource = Resource.create({"service.name": named, "service.version": vmcp.__version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # Exports in a thread of its own; its queue is bounded, and what does not fit is dropped.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def shutdown() -> None:
        # The SDK waits for half a minute, and asyncio for every thread that is not a daemon.
        closing = threading.Thread(target=provider.shutdown, daemon=True)
        closing.start()
        closing.join(SHUTDOWN_S)

    return Collector(provider.get_tracer(service), shutdown)
