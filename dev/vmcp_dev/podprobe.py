"""Readiness and liveness probes: `httpGet` as a kubelet asks it, at a developer's pace."""

from dataclasses import dataclass
from typing import Self

import httpx

from vmcp_dev.podview import Json

_FASTEST_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Probe:
    """One HTTP probe.

    Attributes:
        url: what is asked; 2xx and 3xx pass.
        initial_delay_seconds, period_seconds, timeout_seconds: as a kubelet understands them.
        failures: consecutive failures that count as one.
    """

    url: str
    initial_delay_seconds: float
    period_seconds: float
    timeout_seconds: float
    failures: int

    @classmethod
    def of(cls, spec: Json | None, ip: str, port: int) -> Self | None:
        """Read a probe of a container spec; None where there is no `httpGet`, which then always passes."""
        if not spec or "httpGet" not in spec:
            return None
        return cls(
            url=f"http://{ip}:{port}{spec['httpGet'].get('path', '/')}",
            initial_delay_seconds=float(spec.get("initialDelaySeconds", 0)),
            period_seconds=float(spec.get("periodSeconds", 10)),
            timeout_seconds=float(spec.get("timeoutSeconds", 1)),
            failures=int(spec.get("failureThreshold", 3)),
        )

    def hurried(self, ready: bool) -> float:
        """Seconds to the next readiness probe: nobody waits 15 s for a process that is up at once."""
        return min(self.period_seconds, 1.0 if ready else _FASTEST_SECONDS)

    async def passes(self, http: httpx.AsyncClient) -> bool:
        """Ask once."""
        try:
            answer = await http.get(self.url, timeout=self.timeout_seconds)
        except httpx.HTTPError:
            return False
        return 200 <= answer.status_code < 400
