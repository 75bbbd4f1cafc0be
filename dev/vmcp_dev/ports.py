"""Ports of 127.0.0.1 that stay free until somebody listens on them.

The kernel gives outgoing connections, and whoever binds port 0, a port of its ephemeral range. One of that range may be
taken between the choice and the listening, or while what listens is restarted; and a client that asks again and again
where nobody listens can be given the very port that it asks, and then talks to itself. So ours lie below that range.
"""

import random
import socket
from pathlib import Path
from typing import Final

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 12_000
_FEWEST: Final = 2_000
_ATTEMPTS: Final = 50
_chosen: Final = random.SystemRandom()
"""Nobody's seed, as a property test sets it, makes two processes choose the same."""


def free_port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many of them, none twice."""
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            held.append(_held(_candidates()))
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


def _held(candidates: range) -> socket.socket:
    for _ in range(_ATTEMPTS if candidates else 0):
        try:
            return socket.create_server(("127.0.0.1", _chosen.choice(candidates)))
        except OSError:
            continue
    return socket.create_server(("127.0.0.1", 0))


def _candidates() -> range:
    """Empty where too few ports are left below the ephemeral range, or nobody knows it."""
    try:
        below = range(_LOWEST, int(_RANGE.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return range(0)
    return below if len(below) >= _FEWEST else range(0)
