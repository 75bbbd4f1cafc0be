"""blackbox_exporter checking the same endpoints: built from its Go module, its probes triggered over HTTP.

It has no schedule of its own: Prometheus triggers each probe by a scrape, here a cheap loader does. The scrape is
part of what a check costs with it.
"""

import argparse
import asyncio
import itertools
import json
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import uvloop

from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp.mcp.transport import Request
from vmcp_dev import gobuild
from vmcp_dev.binaries import say
from vmcp_dev.paths import cache_folder

_PING: Final = '{"jsonrpc":"2.0","id":1,"method":"ping"}'


def binary() -> Path:
    """The program, built into the cache where it is not there yet.

    Raises:
        gobuild.BuildFailed: Go is missing, or the build failed.
    """
    target = cache_folder() / "bench" / "blackbox_exporter"
    if not target.exists():
        gobuild.build(target.name, target, say)
    return target


def configuration() -> str:
    """One module that posts an MCP ping."""
    check = {
        "method": "POST",
        "body": _PING,
        "headers": {"content-type": "application/json", "accept": "application/json, text/event-stream"},
        "preferred_ip_protocol": "ip4",
        "valid_status_codes": [200],
    }
    return json.dumps({"modules": {"mcp": {"prober": "http", "timeout": "10s", "http": check}}})


async def load(exporter: int, addresses: list[str], port: int, connections: int) -> None:
    """Trigger probes without a pause, on so many connections, until cancelled."""
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
    urls = itertools.cycle(
        f"http://127.0.0.1:{exporter}/probe?{urlencode({'module': 'mcp', 'target': f'http://{address}:{port}/mcp'})}"
        for address in addresses
    )

    async def trigger() -> None:
        while True:
            response = await transport.send(Request("GET", next(urls)), timeout=20)
            await response.read(limit=1_000_000, timeout=20)

    async with asyncio.TaskGroup() as all_of_them:
        for _ in range(connections):
            all_of_them.create_task(trigger())


def main() -> None:
    """Load until killed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--exporter", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--targets", type=int, required=True)
    arguments = parser.parse_args()
    addresses = [f"127.1.0.{number}" for number in range(1, arguments.targets + 1)]
    uvloop.run(load(arguments.exporter, addresses, arguments.port, 32))


if __name__ == "__main__":
    main()
