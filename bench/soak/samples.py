"""What is read of the operator every few seconds, from its own metrics and from the kernel."""

import os
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.process import cpu_seconds
from prometheus_client.parser import text_string_to_metric_families

_LATENESS: Final = "vmcp_probe_lateness_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Reading:
    """The process at one moment. Counts are since its start; `late` is cumulative, by upper bound in seconds."""

    at: float
    rss_mb: float
    cpu_s: float
    open_files: int
    late: dict[float, float]
    totals: dict[str, float]


def read(pid: int, port: int) -> Reading:
    """Look at the operator.

    Raises:
        OSError: it is gone, or does not answer.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    late: dict[float, float] = {}
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _LATENESS:
                late[float(sample.labels["le"])] = sample.value
            elif not sample.name.endswith(("_bucket", "_created")):
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return Reading(
        at=time.monotonic(),
        rss_mb=int(rss.split()[1]) * 1024 / 1e6,
        cpu_s=cpu_seconds(pid),
        open_files=len(os.listdir(f"/proc/{pid}/fd")),
        late=late,
        totals=totals,
    )


def sample(before: Reading, after: Reading, began: float) -> dict[str, float]:
    """What happened between two readings."""
    seconds = after.at - before.at

    def rate(name: str) -> float:
        return (after.totals.get(name, 0.0) - before.totals.get(name, 0.0)) / seconds

    return {
        "at_s": round(after.at - began, 1),
        "rss_mb": round(after.rss_mb, 2),
        "open_files": after.open_files,
        "cpu_share": round((after.cpu_s - before.cpu_s) / seconds, 4),
        "lateness_p99_ms": _quantile_ms(before, after, 0.99),
        "checks_per_s": round(rate("vmcp_probe_lateness_seconds_count"), 1),
        "transitions_per_s": round(rate("vmcp_transitions_total"), 2),
        "status_writes_per_s": round(rate("vmcp_status_writes_total"), 2),
        "targets": after.totals.get("vmcp_targets", 0.0),
    }


def _quantile_ms(before: Reading, after: Reading, share: float) -> float:
    """An upper bound: the histogram's bucket."""
    counts = {bound: after.late[bound] - before.late.get(bound, 0.0) for bound in after.late}
    total = counts.get(float("inf"), 0.0)
    bounds = [bound for bound, count in sorted(counts.items()) if count >= share * total]
    return round(min(bounds[0], 1000.0) * 1000, 1) if total else 0.0
