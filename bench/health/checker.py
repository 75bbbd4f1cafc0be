"""The operator's checking process, alone: the real monitor, probe and transport under uvloop, without Kubernetes.

Commands come as lines on stdin; each is answered by one line of JSON on stdout. `sample` tells what has been done
so far, `reset` forgets the lateness seen until now, end of input ends the process.
"""

import argparse
import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Sequence

import uvloop

from vmcp.health.monitor import Change, Check, Monitor
from vmcp.health.policy import HealthPolicy
from vmcp.health.probe import Probe
from vmcp.health.target import Target
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport


class ExactMonitor(Monitor):
    """The monitor, with every single lateness kept: its own statistics know buckets only."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.lateness_s: list[float] = []

    async def _turn(self, key: tuple[str, str], due: float) -> float:
        self.lateness_s.append(time.monotonic() - due)
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


async def serve(check: Check, watched: Sequence[Target], per_owner: int, *, exact: bool) -> None:
    """Watch the targets, in objects of `per_owner` each, and answer commands until stdin ends."""
    tally = Tally()
    monitor = ExactMonitor(check=check, changed=tally.changed) if exact else Monitor(check=check, changed=tally.changed)
    began = time.process_time()
    for first in range(0, len(watched), per_owner):
        monitor.set_targets(f"uid-{first}", watched[first : first + per_owner])
    set_cpu_s = time.process_time() - began
    gc.collect()
    gc.freeze()
    running = asyncio.create_task(monitor.run())
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print(json.dumps({"ready": True, "set_targets_cpu_s": set_cpu_s}), flush=True)
    while command := (await commands.readline()).decode().strip():
        late = monitor.lateness_s if isinstance(monitor, ExactMonitor) else []
        if command == "reset":
            late.clear()
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
                    "lateness_ms": [round(late_s * 1000, 3) for late_s in late],
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
    parser.add_argument("--exact", action="store_true", help="keep every lateness")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def check_all() -> None:
        policy = HealthPolicy(interval_s=arguments.interval)
        probe = Probe(HttpTransport(guard=AddressGuard(allow_loopback=True)))
        watched = targets(arguments.targets, arguments.port, policy)
        await serve(probe, watched, arguments.per_owner, exact=arguments.exact)

    uvloop.run(check_all())


if __name__ == "__main__":
    main()
