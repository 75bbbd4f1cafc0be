"""The operator's checking process, alone: the real monitor, probe and transport under uvloop, without Kubernetes.

Commands come as lines on stdin; each is answered by one line of JSON on stdout. `sample` tells what has been done
so far, `reset` forgets the lateness seen until now, `lateness` tells every one since, end of input ends the process.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence

import uvloop
from bench.health.simulated import SimulatedTransport

from vmcp.health.monitor import Change, Check, Monitor
from vmcp.health.policy import BreakerPolicy, HealthPolicy
from vmcp.health.probe import Probe
from vmcp.health.snapshot import Circuit
from vmcp.health.target import Target
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.process.garbage import search_rarely
from vmcp.process.measured import MeasuredCheck


class ExactMonitor(Monitor):
    """The monitor, with every single lateness kept: its own statistics know buckets only."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.lateness_s: list[float] = []
        self.trial_lateness_s: list[float] = []

    async def _turn(self, key: tuple[str, str], due: float) -> float:
        late = time.monotonic() - due
        self.lateness_s.append(late)
        if self._owners[key[0]][key[1]].record.breaker.circuit is Circuit.OPEN:
            self.trial_lateness_s.append(late)
        return await super()._turn(key, due)


class Tally:
    """Counts the changes that the monitor reports, by outcome."""

    def __init__(self) -> None:
        self.reported = 0
        self.failed = 0

    def changed(self, change: Change) -> None:
        """A check is over."""
        self.reported += 1
        self.failed += change.after.category is not None


def targets(count: int, port: int, policy: HealthPolicy) -> list[Target]:
    """Targets with an address of their own each, all on the one backend."""
    return [
        Target(
            name=f"backend-{number:06}",
            url=f"http://127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}:{port}/mcp",
            policy=policy,
            fingerprint=f"{number:08x}",
        )
        for number in range(1, count + 1)
    ]


async def serve(check: Check, watched: Sequence[Target], per_owner: int) -> None:
    """Watch the targets, in objects of `per_owner` each, and answer commands until stdin ends."""
    tally = Tally()
    monitor = ExactMonitor(check=check, changed=tally.changed)
    began = time.process_time()
    for first in range(0, len(watched), per_owner):
        monitor.set_targets(f"uid-{first}", watched[first : first + per_owner])
    set_cpu_s = time.process_time() - began
    running = asyncio.create_task(monitor.run())
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print(json.dumps({"ready": True, "set_targets_cpu_s": set_cpu_s}), flush=True)
    while command := (await commands.readline()).decode().strip():
        late, trials = monitor.lateness_s, monitor.trial_lateness_s
        if command == "reset":
            late.clear()
            trials.clear()
        counts = monitor.statistics()
        print(
            json.dumps(
                {
                    "started": counts.started,
                    "reported": tally.reported,
                    "failed": tally.failed,
                    "in_flight": counts.in_flight,
                    "stalls": counts.stalls,
                    "cpu_s": time.process_time(),
                    "at": time.monotonic(),
                    "lateness_ms": [round(late_s * 1000, 3) for late_s in late] if command == "lateness" else [],
                    "trial_lateness_ms": [round(late_s * 1000, 3) for late_s in trials],
                }
            ),
            flush=True,
        )
    running.cancel()


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--targets", type=int, required=True)
    parser.add_argument("--interval", type=float, required=True, help="seconds")
    parser.add_argument("--per-owner", type=int, default=10)
    parser.add_argument("--open-time", type=float, default=0.0, help="seconds; a breaker that opens at one failure")
    parser.add_argument("--simulated", action="store_true", help="answer within the process, 2 ms after the request")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def check_all() -> None:
        breaker = BreakerPolicy(arguments.open_time > 0, failure_threshold=1, timeout_s=arguments.open_time or 60.0)
        policy = HealthPolicy(interval_s=arguments.interval, breaker=breaker)
        guard = AddressGuard(allow_loopback=True)
        probe = Probe(SimulatedTransport() if arguments.simulated else HttpTransport(guard=guard))
        watched = targets(arguments.targets, arguments.port, policy)
        await serve(MeasuredCheck(probe), watched, arguments.per_owner)

    search_rarely()
    uvloop.run(check_all())


if __name__ == "__main__":
    main()
