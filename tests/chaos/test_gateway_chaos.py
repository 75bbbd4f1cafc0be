"""Many clients call at random while backends die, hang, come back, leave and join: one answer a call, to who called.

`make gateway-chaos` is the long run. VMCP_GATEWAY_CHAOS_SEED repeats one as far as processes can;
VMCP_GATEWAY_CHAOS_SECONDS and VMCP_GATEWAY_CHAOS_CLIENTS make it longer and fuller.
"""

import asyncio
import json
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import mcp
import pytest
import uvloop
from tests.chaos import echoserver
from tests.chaos.actors import CheapBackend, State
from tests.chaos.gatewayclients import (
    INTERNAL,
    PATIENCE_S,
    UNAVAILABLE,
    UNKNOWN,
    Client,
    Ledger,
    LegacyClient,
    ModernClient,
)
from tests.gateway.world import config, entry, free_port, until

from vmcp_dev.childprocess import ChildProcess

SECONDS = float(os.environ.get("VMCP_GATEWAY_CHAOS_SECONDS", "12"))
CLIENTS = int(os.environ.get("VMCP_GATEWAY_CHAOS_CLIENTS", "48"))
SDK_CLIENTS = ("legacy", "legacy", "2026-07-28", "2026-07-28")
BACKENDS_EACH = 4
LISTENERS_SHARE = 4
"""One of so many Legacy clients keeps a stream open."""
QUICK = {
    "healthCheckInterval": "1s",
    "healthCheckTimeout": "500ms",
    "fastInterval": "200ms",
    "partialFailureMode": "best_effort",
    "circuitBreaker": {"enabled": True, "failureThreshold": 2, "timeout": "1s", "backoffMultiplier": 1},
}
ALL_OF_THESE = ("result", "tool's error", "unavailable", "no answer", "left", "told of a change")
"""What must have come, or little was tried."""
ALIVE_MOSTLY = [State.ALIVE] * 3 + [State.DEAD, State.HUNG]


class EchoBackend(CheapBackend):
    """A backend of one era that writes down every call."""

    def __init__(self, era: str, number: int, folder: Path, rng: random.Random) -> None:
        super().__init__(f"{era}-{number}", rng)
        self.era = era
        self.calls = folder / f"{self.name}.calls"

    def command(self) -> list[str]:
        return [sys.executable, echoserver.__file__, str(self.port), self.era, str(self.calls)]


class Gateway:
    """A gateway process, and its configuration, of which the last backend of each era is a part now and then."""

    def __init__(self, folder: Path, backends: list[EchoBackend]) -> None:
        self.origin = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "gateway.log"
        self.leaving = {backend.name for backend in backends if backend.name.endswith(f"-{BACKENDS_EACH - 1}")}
        self._backends = backends
        self._file = folder / "gateway.json"
        self.configure(())
        port = self.origin.rpartition(":")[2]
        command = [sys.executable, "-m", "vmcp.cli", "serve", "--config", self._file, "--port", port]
        self.process = ChildProcess("gateway", command, log=self.log)

    def configure(self, without: tuple[str, ...]) -> None:
        entries = [entry(each.name, each.url) for each in self._backends if each.name not in without]
        operational = {"failureHandling": QUICK, "timeouts": {"default": "2s"}}
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(config(*entries, operational=operational)))
        fresh.rename(self._file)

    async def until_it_lists(self, names: set[str]) -> None:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http, asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(httpx.TransportError):
                    backends = (await http.get(f"{self.origin}/status")).json()["backends"]
                    if {each["name"] for each in backends if each["health"] == "healthy"} == names:
                        return
                assert self.process.running, self.process.tail()
                await asyncio.sleep(0.1)

    async def metric(self, name: str) -> float:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            lines = (await http.get(f"{self.origin}/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture
def seed() -> str:
    seed = os.environ.get("VMCP_GATEWAY_CHAOS_SEED") or f"{random.SystemRandom().randrange(10**9)}"
    print(f"VMCP_GATEWAY_CHAOS_SEED={seed}")
    return seed


@pytest.fixture
def backends(tmp_path: Path, seed: str) -> Iterator[list[EchoBackend]]:
    rng = random.Random(f"{seed} ports")
    backends = [EchoBackend(era, n, tmp_path, rng) for era in ("legacy", "modern") for n in range(BACKENDS_EACH)]
    try:
        for backend in backends:
            backend.become(State.ALIVE)
        yield backends
    finally:
        for backend in backends:
            backend.kill()


@pytest.fixture
def gateway(tmp_path: Path, backends: list[EchoBackend]) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, backends)
    yield gateway
    gateway.process.kill()


def test_every_call_is_answered_once_to_who_called(backends: list[EchoBackend], gateway: Gateway, seed: str) -> None:
    ledger = Ledger()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(backends, gateway, ledger, seed))
    assert "Traceback" not in gateway.log.read_text(), gateway.process.tail()
    told: Counter[str] = Counter()
    for backend in backends:
        told.update(backend.calls.read_text().splitlines())
    print(f"{SECONDS:g} s, {CLIENTS} clients, {sum(told.values())} calls at backends: {dict(ledger.outcomes)}")
    assert [token for token, times in told.items() if times > 1] == [], "a call was sent twice"
    assert ledger.answered <= told.keys()
    for outcome in ALL_OF_THESE:
        assert ledger.outcomes[outcome], f"nothing of this came: {outcome}"


async def _live(backends: list[EchoBackend], gateway: Gateway, ledger: Ledger, seed: str) -> None:
    names = [backend.name for backend in backends]
    await gateway.until_it_lists(set(names))
    over, end = asyncio.Event(), threading.Event()
    chaos = threading.Thread(target=_flap, args=(backends, random.Random(f"{seed} flap"), end))
    clients: list[Client] = []
    for number in range(CLIENTS):
        kind = LegacyClient if number % 2 else ModernClient
        rng = random.Random(f"{seed} {number}")
        clients.append(kind(f"client-{number}", gateway.origin, names, gateway.leaving, ledger, rng))
    chaos.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(clients):
                tasks.create_task(client.live(over))
                if isinstance(client, LegacyClient) and number // 2 % LISTENERS_SHARE == 0:
                    tasks.create_task(client.listen(over))
            for number, mode in enumerate(SDK_CLIENTS):
                tasks.create_task(_official(number, mode, gateway, names, ledger, over))
            tasks.create_task(_reconfigure(gateway, random.Random(f"{seed} config"), over))
            await asyncio.sleep(SECONDS)
            with suppress(TimeoutError):  # On a slow machine some of it comes later; what never comes is named below.
                await until(lambda: all(ledger.outcomes[each] for each in ALL_OF_THESE))
            over.set()
    finally:
        end.set()
        await asyncio.to_thread(chaos.join)
    # Left alone, everything is well again, and nothing is left of those who went away.
    await asyncio.to_thread(lambda: [backend.become(State.ALIVE) for backend in backends])
    gateway.configure(())
    await gateway.until_it_lists(set(names))
    for kind in (LegacyClient, ModernClient):
        for name in names:
            last = kind(f"last {kind.__name__} {name}", gateway.origin, [name], set(), ledger, random.Random(seed))
            before = ledger.outcomes["result"]
            await last.begin_anew()
            await last.call()
            assert ledger.outcomes["result"] == before + 1, f"{name} does not answer"
            last.close()

    async def alone() -> bool:
        return await gateway.metric("vmcp_gateway_connections ") <= 1

    await until(alone)


async def _official(
    number: int, mode: str, gateway: Gateway, names: list[str], ledger: Ledger, over: asyncio.Event
) -> None:
    """The official SDK's client, which checks ids by itself."""
    rng, count = random.Random(number), 0
    while not over.is_set():
        async with mcp.Client(
            f"{gateway.origin}/mcp", mode=mode, cache=None, read_timeout_seconds=PATIENCE_S
        ) as client:
            for _ in range(50):
                if over.is_set():
                    return
                count += 1
                name, token = rng.choice(names), f"sdk-{number}/{count}"
                try:
                    result = await client.call_tool(f"{name}_echo", {"token": token})
                except mcp.MCPError as error:
                    if error.code not in {UNAVAILABLE, INTERNAL} | ({UNKNOWN} if name in gateway.leaving else set()):
                        raise
                    ledger.outcomes["error of the SDK's client"] += 1
                    continue
                text: Any = result.content[0]
                assert text.text == token
                ledger.result(token)
                await asyncio.sleep(rng.uniform(0, 0.05))


def _flap(backends: list[EchoBackend], rng: random.Random, end: threading.Event) -> None:
    """Backends die, hang, wake and return; most are alive."""
    while not end.wait(rng.uniform(0.02, 0.3)):
        rng.choice(backends).become(rng.choice(ALIVE_MOSTLY))


async def _reconfigure(gateway: Gateway, rng: random.Random, over: asyncio.Event) -> None:
    """A person takes backends out and puts them in again."""
    while not over.is_set():
        gateway.configure(tuple(name for name in sorted(gateway.leaving) if rng.random() < 0.5))
        with suppress(TimeoutError):
            async with asyncio.timeout(rng.uniform(1.0, 3.0)):
                await over.wait()
