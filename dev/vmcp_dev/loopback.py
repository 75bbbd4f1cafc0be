"""An address of its own for every pod: 127.77.0.0/16, which Linux answers without any set-up."""

import random
import socket
from dataclasses import dataclass

_GATEWAY_PORT = 4483


@dataclass(frozen=True, slots=True)
class PodAddress:
    """Where a pod listens.

    Attributes:
        ip: the pod's IP.
        own_ip: False where the platform has only 127.0.0.1, so that every pod needs a port of its own.
    """

    ip: str
    own_ip: bool

    def port(self, wanted: int) -> int:
        """The port to listen on for the wanted one: the same, or a free one where the IP is shared."""
        if self.own_ip:
            return wanted
        with socket.create_server((self.ip, 0)) as held:
            return int(held.getsockname()[1])


def pick_address() -> PodAddress:
    """An address that nobody listens on. Random, since several runners may share a machine."""
    for _ in range(20):
        ip = f"127.77.{random.randrange(256)}.{random.randrange(1, 255)}"
        if not _exists(ip):
            break
        if not _in_use(ip):
            return PodAddress(ip, own_ip=True)
    return PodAddress("127.0.0.1", own_ip=False)


def _exists(ip: str) -> bool:
    try:
        socket.create_server((ip, 0)).close()
    except OSError:
        return False
    return True


def _in_use(ip: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((ip, _GATEWAY_PORT)) == 0
