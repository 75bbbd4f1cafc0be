"""Who makes the chaos: each actor is one thread with a random source of its own, made from the seed."""

import random
import socket
import sys
import threading
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path

from tests.chaos import cheapserver
from tests.integration.stage import McpBackend, Stage
from tests.integration.twin import Twin

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import KubectlError

LEASE_LOST_AFTER_S = 17.0


class State(Enum):
    ALIVE = "alive"
    DEAD = "dead"
    HUNG = "hung"


class CheapBackend(McpBackend):
    """A backend whose state is always known."""

    def __init__(self, name: str, rng: random.Random) -> None:
        super().__init__(name)
        self.port = _steady_port(rng)
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.state = State.DEAD

    def command(self) -> list[str]:
        return [sys.executable, "-S", cheapserver.__file__, str(self.port)]

    def become(self, state: State) -> None:
        if self.state is State.HUNG and state is not State.HUNG:
            self.resume()
        if state is State.DEAD:
            self.kill()
        elif self.state is State.DEAD:
            self.start()
        if state is State.HUNG and self.state is not State.HUNG:
            self.hang()
        self.state = state


def flap(backends: list[CheapBackend], rng: random.Random, end: threading.Event) -> None:
    """Backends die, hang, wake and return."""
    while not end.wait(rng.uniform(0.05, 0.6)):
        rng.choice(backends).become(rng.choice(list(State)))


def crash_apiserver(control_plane: ControlPlane, rng: random.Random, end: threading.Event) -> None:
    """The API server dies, and is started again after a while: once for longer than a Lease can be held."""
    outages = [rng.uniform(0.0, 4.0), rng.uniform(11.0, 14.0), rng.uniform(0.0, 4.0)]
    rng.shuffle(outages)
    while not end.wait(rng.uniform(5.0, 10.0)):
        control_plane.kill_apiserver()
        end.wait(outages.pop() if outages else rng.uniform(0.0, 4.0))
        control_plane.start_apiserver()


class Pair:
    """Two operators that stand for one Lease. One that ended is started again, as a kubelet would.

    Attributes:
        ever: all processes there were.
    """

    def __init__(self, kubeconfig: Path, stage: Stage, folder: Path) -> None:
        self._kubeconfig = kubeconfig
        self._stage = stage
        self._folder = folder
        self.ever: list[Twin] = []
        self.now: list[Twin] = [self._new(), self._new()]
        self._paused: dict[Twin, float] = {}

    def torment(self, rng: random.Random, end: threading.Event) -> None:
        """Kill one at a random moment, or stop one as if its node slept: now and then over the end of its Lease."""
        act_at = time.monotonic() + rng.uniform(1.0, 4.0)
        sleeps = [LEASE_LOST_AFTER_S]
        while not end.wait(0.2):
            self._wake(time.monotonic())
            self.supervise()
            if time.monotonic() < act_at:
                continue
            act_at = time.monotonic() + rng.uniform(2.0, 6.0)
            awake = [twin for twin in self.now if twin not in self._paused]
            leaders = [twin for twin in awake if twin.leads()]
            if sleeps and leaders:
                self._pause(leaders[0], sleeps.pop())
            elif awake and rng.random() < 0.5:
                rng.choice(awake).process.kill()
            elif len(awake) == 2:
                self._pause(rng.choice(awake), rng.choice([2.0, 6.0, LEASE_LOST_AFTER_S]))
        self._wake(float("inf"))
        self.supervise()

    def supervise(self) -> None:
        for place, twin in enumerate(self.now):
            if not twin.process.running:
                self._paused.pop(twin, None)
                self.now[place] = self._new()

    def stop(self) -> None:
        for twin in self.ever:
            twin.process.kill()
            twin.process.wait(10)

    def _pause(self, twin: Twin, seconds: float) -> None:
        with suppress(ProcessLookupError):
            twin.pause()
            self._paused[twin] = time.monotonic() + seconds

    def _wake(self, now: float) -> None:
        for twin, until in list(self._paused.items()):
            if until <= now:
                del self._paused[twin]
                if twin.process.running:
                    twin.resume()

    def _new(self) -> Twin:
        log = self._folder / f"operator-{len(self.ever)}.log"
        elect = ("--leader-elect", f"--lease-namespace={self._stage.namespace}")
        twin = Twin(self._kubeconfig, self._stage, log, *elect)
        self.ever.append(twin)
        return twin


def edit(stage: Stage, names: list[str], rng: random.Random, end: threading.Event) -> None:
    """A person changes specs, and tries again when the API server is away."""
    while not end.wait(rng.uniform(0.5, 2.5)):
        spec = {"sessionAffinity": rng.choice(["None", "ClientIP"])}
        with suppress(KubectlError):
            stage.patch("vmcp", rng.choice(names), {"spec": spec})


def _steady_port(rng: random.Random) -> int:
    """A port that the kernel gives to no outgoing connection while the backend is dead."""
    while True:
        port = rng.randrange(20_000, 32_000)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
