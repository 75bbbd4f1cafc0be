"""What a call and an `initialize` take while some of 200 backends hang, reset connections or flap; and fast failure."""

import contextlib
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from bench.gateway import contestants
from bench.gateway.contestants import Backends, Running
from bench.gateway.load import Turn, run_wrk, wrk_command

BACKENDS: Final = 200
BROKEN: Final = 20
CONNECTIONS: Final = 16
MODES: Final = ("answer", "hang", "reset", "flap")
_FLAP_S: Final = 0.5
_UNAVAILABLE: Final = -32003
_QUICK: Final = {
    "healthCheckInterval": "1s",
    "healthCheckTimeout": "500ms",
    "circuitBreaker": {"enabled": True, "failureThreshold": 2, "timeout": "10m"},
}


def broken(rounds: int, seconds: float) -> dict[str, object]:
    """The healthy 180 in each mode of the other 20, who are called all the while too."""
    turns: dict[str, list[Turn]] = {mode: [] for mode in MODES}
    initialize: dict[str, list[float]] = {mode: [] for mode in MODES}
    with contestants.backends(BACKENDS) as behind, contestants.vmcp(behind, BACKENDS) as gateway:
        healthy = [gateway.door.call(backend=number) for number in range(1, BACKENDS - BROKEN + 1)]
        for number in range(rounds):
            for mode in MODES:
                with _broken(behind, mode), _calling_the_broken(gateway):
                    turn = run_wrk(gateway.door, healthy, connections=CONNECTIONS, seconds=seconds)
                    initialize[mode].append(_initialize_ms(gateway))
                turns[mode].append(turn)
                print(f"  round {number + 1}  {mode:6} p99 {turn.p99_ms:.2f} ms", flush=True)
    p99 = {mode: round(statistics.median(turn.p99_ms for turn in seen), 3) for mode, seen in turns.items()}
    return {
        "healthy_p99_ms": p99,
        "healthy_p99_ratio_while_hanging": round(
            statistics.median(
                hung.p99_ms / well.p99_ms for hung, well in zip(turns["hang"], turns["answer"], strict=True)
            ),
            3,
        ),
        "healthy_failed": {mode: sum(turn.failed for turn in seen) for mode, seen in turns.items()},
        "initialize_ms": {mode: round(statistics.median(seen), 2) for mode, seen in initialize.items()},
        "initialize_ms_with_20_of_200_hanging": round(max(initialize["hang"]), 2),
    }


def fast_failure(rounds: int, seconds: float) -> dict[str, object]:
    """Calls to a backend whose circuit is open."""
    turns: list[Turn] = []
    alone: list[Turn] = []
    cpu: list[float] = []
    with contestants.backends(2) as behind, contestants.vmcp(behind, 2, health=_QUICK) as gateway:
        behind.misbehave("hang", 1)
        _await_open(gateway, 2)
        for _ in range(rounds):
            before = gateway.cpu_seconds()
            turns.append(run_wrk(gateway.door, [gateway.door.call(backend=2)], connections=32, seconds=seconds))
            cpu.append((gateway.cpu_seconds() - before) / turns[-1].requests * 1e6)
            alone.append(run_wrk(gateway.door, [gateway.door.call(backend=2)], connections=1, seconds=1))
            print(f"  p99 {turns[-1].p99_ms:.2f} ms, {cpu[-1]:.0f} µs", flush=True)
    if any(turn.failed for turn in turns):
        raise RuntimeError("a fast failure is an answer with HTTP 200, and some were not")
    return {
        "fast_failure_p50_ms": round(statistics.median(turn.p50_ms for turn in turns), 3),
        "fast_failure_p99_ms": round(statistics.median(turn.p99_ms for turn in turns), 3),
        # Other programs on the core only ever add to it.
        "fast_failure_p99_ms_best_round": round(min(turn.p99_ms for turn in turns), 3),
        "fast_failure_p99_ms_1_connection": round(statistics.median(turn.p99_ms for turn in alone), 3),
        "fast_failure_cpu_us": round(statistics.median(cpu), 1),
    }


@contextlib.contextmanager
def _broken(behind: Backends, mode: str) -> Iterator[None]:
    over = threading.Event()

    def flap() -> None:
        broken = False
        while not over.is_set():
            broken = not broken
            behind.misbehave("hang" if broken else "answer", BROKEN)
            over.wait(_FLAP_S)

    flapping = threading.Thread(target=flap)
    if mode == "flap":
        flapping.start()
    else:
        behind.misbehave(mode, BROKEN)
    try:
        yield
    finally:
        over.set()
        if mode == "flap":
            flapping.join()
        behind.misbehave("answer", BROKEN)


@contextlib.contextmanager
def _calling_the_broken(gateway: Running) -> Iterator[None]:
    """One caller for each of them, who waits as long as it takes."""
    requests = [gateway.door.call(backend=number) for number in range(BACKENDS - BROKEN + 1, BACKENDS + 1)]
    with tempfile.NamedTemporaryFile(suffix=".requests") as file:
        file.write(b"\0".join(requests))
        file.flush()
        command, env = wrk_command(gateway.door, file.name, connections=BROKEN, seconds=60)
        # Few calls a second each: a caller that is refused at once must not become the load.
        caller = subprocess.Popen(
            command, env={**env, "PAUSE_MS": "200"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            caller.kill()
            caller.wait(10)


def _initialize_ms(gateway: Running) -> float:
    began = time.perf_counter()
    gateway.door.initialize()
    return (time.perf_counter() - began) * 1e3


def _await_open(gateway: Running, backend: int) -> None:
    name = gateway.door.tool.format(own="echo", backend=backend)
    deadline, answer = time.monotonic() + contestants.PATIENCE_S, None
    while time.monotonic() < deadline:
        answer, _ = gateway.door.ask("tools/call", {"name": name, "arguments": {}}, name)
        error: dict[str, Any] = answer.get("error", {})
        if error.get("code") == _UNAVAILABLE and error.get("data", {}).get("circuit") == "open":
            return
        time.sleep(0.2)
    raise RuntimeError(f"the circuit did not open: {answer}")
