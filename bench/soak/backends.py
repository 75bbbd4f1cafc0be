"""Several hundred backends in one process, each at an address of its own; some of them flap.

A backend that flaps is up most of the time, and else refuses connections, answers 500 or hangs.
"""

import argparse
import asyncio
import random
from contextlib import suppress
from typing import Final

import uvloop
from bench.health.backend import Canned, Clerk

PORT: Final = 8700
UP_S: Final = (10.0, 90.0)
DOWN_S: Final = (5.0, 45.0)


def address(number: int) -> str:
    """Of a backend. No outgoing connection has such an address, so its port is free when it returns."""
    return f"127.66.{number // 250}.{number % 250 + 1}"


class _Connection(Canned):
    """Knows the backend it belongs to."""

    def __init__(self, backend: "_Backend") -> None:
        super().__init__(backend.clerk)
        self._backend = backend

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._backend.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._backend.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if not self._backend.hangs:
            super().data_received(data)

    def abort(self) -> None:
        self._transport.abort()  # type: ignore[attr-defined]


class _Backend:
    def __init__(self, number: int) -> None:
        self.clerk = Clerk()
        self.hangs = False
        self.connections: set[_Connection] = set()
        self._address = address(number)
        self._server: asyncio.Server | None = None

    async def up(self) -> None:
        self.hangs = self.clerk.broken = False
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Connection(self), self._address, PORT)

    def down(self, how: str) -> None:
        self.hangs, self.clerk.broken = how == "hangs", how == "answers 500"
        if how == "refuses" and self._server is not None:
            self._server.close()
            self._server = None
            for connection in list(self.connections):
                connection.abort()

    async def flap(self, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.uniform(*UP_S))
            self.down(rng.choice(["refuses", "answers 500", "hangs"]))
            await asyncio.sleep(rng.uniform(*DOWN_S))
            with suppress(OSError):
                await self.up()


async def serve(count: int, flapping: int, seed: int) -> None:
    """Run until cancelled; the first `flapping` of them flap."""
    backends = [_Backend(number) for number in range(count)]
    for backend in backends:
        await backend.up()
    print("ready", flush=True)
    async with asyncio.TaskGroup() as group:
        for number, backend in enumerate(backends[:flapping]):
            group.create_task(backend.flap(random.Random(f"{seed}-{number}")))
        await asyncio.Event().wait()


def main() -> None:
    """Say `ready`, then answer until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("flapping", type=int)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.count, arguments.flapping, arguments.seed))


if __name__ == "__main__":
    main()
