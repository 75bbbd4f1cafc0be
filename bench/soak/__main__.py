"""Runs the operator among flapping backends and edits; writes `bench/results/soak.json` and `docs/soak.svg`.

Ends with status 1 where memory grew: from the second quarter of the time to the last one by over 5 %.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.process import ours
from bench.soak import fleet, plot
from bench.soak.samples import Reading, read, sample

from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS
from vmcp_dev.kubectl import KubectlError
from vmcp_dev.operatorprocess import start_operator

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "bench" / "results" / "soak.json"
PLOT: Final = ROOT / "docs" / "soak.svg"
PORT: Final = 8799
SAMPLE_EVERY_S: Final = 5.0
EDIT_EVERY_SAMPLES: Final = 2
GROWTH_MAX: Final = 0.05
_READY_S: Final = 120.0


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("soak reads memory from /proc and listens on 127.66.0.0/16: it needs Linux")
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(crds=CRDS) as control_plane,
        ours("bench.soak.backends", str(fleet.BACKENDS), str(fleet.FLAPPING), str(arguments.seed), core=1) as backends,
    ):
        backends.line()
        fleet.create(control_plane.kubectl)
        log = Path(folder) / "operator.log"
        with _operator(control_plane, log) as operator:
            samples = _soak(control_plane, operator, arguments.minutes * 60, random.Random(arguments.seed))
        faults = log.read_text().count("Traceback")
    figures = _figures(samples) | {"minutes": arguments.minutes, "seed": arguments.seed, "tracebacks": faults}
    figures["measured_at"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(figures | {"samples": samples}, indent=1) + "\n")
    plot.draw(samples, PLOT)
    print(json.dumps(figures, indent=2))
    if figures["rss_growth"] > GROWTH_MAX or faults:
        sys.exit(f"memory grew by {figures['rss_growth']:.1%}, {faults} tracebacks: see {RESULTS}")


@contextmanager
def _operator(control_plane: ControlPlane, log: Path) -> Iterator[ChildProcess]:
    elect = ["--leader-elect", "--lease-namespace=default"]
    process = start_operator(control_plane.kubeconfig, log=log, arguments=[f"--listen=127.0.0.1:{PORT}", *elect])
    try:
        yield process
    finally:
        process.stop(20)


def _soak(
    control_plane: ControlPlane, operator: ChildProcess, seconds: float, rng: random.Random
) -> list[dict[str, float]]:
    before = _first_reading(operator)
    began, samples = before.at, []
    edits = fleet.edits(control_plane.kubectl, rng)
    while before.at - began < seconds:
        time.sleep(SAMPLE_EVERY_S)
        if not operator.running:
            raise RuntimeError(f"the operator ended with status {operator.exit_status}:\n{operator.tail()}")
        after = read(operator.pid, PORT)
        samples.append(sample(before, after, began))
        before = after
        if len(samples) % EDIT_EVERY_SAMPLES == 0:
            try:
                next(edits)
            except KubectlError as error:
                sys.exit(f"an edit failed: {error}")
    return samples


def _first_reading(operator: ChildProcess) -> Reading:
    """Once every backend is watched."""
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            reading = read(operator.pid, PORT)
            if reading.totals.get("vmcp_targets") == fleet.BACKENDS:
                return reading
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"the operator does not watch all backends after {_READY_S:.0f} s:\n{operator.tail()}")
        time.sleep(0.5)


def _figures(samples: Sequence[dict[str, float]]) -> dict[str, Any]:
    quarter = len(samples) // 4
    warm, last = samples[quarter : 2 * quarter], samples[-quarter:]
    early, late = (statistics.median(each["rss_mb"] for each in some) for some in (warm, last))
    return {
        "objects": fleet.OBJECTS,
        "backends": fleet.BACKENDS,
        "flapping": fleet.FLAPPING,
        "rss_mb_second_quarter": early,
        "rss_mb_last_quarter": late,
        "rss_growth": round(late / early - 1, 4),
        "open_files_max": max(each["open_files"] for each in samples),
        "cpu_share_median": statistics.median(each["cpu_share"] for each in samples),
        "lateness_p99_ms_median": statistics.median(each["lateness_p99_ms"] for each in samples),
        "lateness_p99_ms_worst": max(each["lateness_p99_ms"] for each in samples),
    }


if __name__ == "__main__":
    main()
