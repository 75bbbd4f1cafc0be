"""The operator's figures: see `bench.suite` for what the command does."""

import argparse
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop
from bench.operator import applies, fleet, plots
from bench.suite import DOCS, README, Block, Part, Row, Suite, main, table, versions

from vmcp_dev.versions import ETCD, KUBERNETES

REST_S: Final = 300.0
"""Every object has one heartbeat within this."""

ROWS: Final[tuple[Row, ...]] = (
    ("apply → Deployment exists, p50", "apply_to_deployment_p50_ms", "{:.0f} ms", "< 200 ms"),
    ("… p99", "apply_to_deployment_p99_ms", "{:.0f} ms", "< 1 s"),
    ("100 VirtualMCPServers at once: all Deployments exist after", "burst_100_s", "{:.1f} s", "< 10 s"),
    ("1,000 at once", "burst_1000_s", "{:.1f} s", "< 90 s"),
    ("objects of ten backends each, at rest", "fleet_objects", "{:,}", "1,000"),
    ("… memory", "rss_mb_1000", "{} MB", "< 400 MB"),
    ("… CPU of one core, every backend checked every 30 s", "rest_cpu_share", "{:.1%}", ""),
    ("… API writes an object and hour: heartbeats", "writes_per_object_hour_at_rest", "{:.1f}", "12 to 15"),
    ("… API reads an object and hour", "reads_per_object_hour_at_rest", "{:.1f}", ""),
    ("… failed check → status written, p99", "flip_to_status_p99_ms", "{:.0f} ms", "< 300 ms"),
    ("… failed check → gateway refuses calls, p99", "flip_to_gateway_p99_ms", "{:.0f} ms", "< 1 s"),
)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rest", type=float, default=REST_S, help="seconds that the fleet at rest is measured")
    parser.add_argument("--objects", type=int, default=fleet.OBJECTS, help="of the fleet; other numbers are for a look")


def _to_its_end(measure: Callable[[], Awaitable[dict[str, object]]]) -> Part:
    async def measured() -> dict[str, object]:
        return await measure()

    return lambda: uvloop.run(measured())


SUITE: Final = Suite(
    name="operator",
    options=_options,
    parts=lambda chosen: {
        "applies": _to_its_end(applies.measure),
        "fleet": _to_its_end(lambda: fleet.measure(chosen.objects, chosen.rest)),
    },
    machine=lambda: versions("kopf", "kubernetes") | {"api_server": KUBERNETES, "etcd": ETCD, "nodes": fleet.NODES},
    draw=plots.draw,
    blocks=(Block("operator figures", lambda figures: table(ROWS, figures), (DOCS / "operations.md", README)),),
)

if __name__ == "__main__":
    main(SUITE)
