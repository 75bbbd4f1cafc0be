"""What goes wrong on real clusters, done on purpose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from e2e.fleet import BACKEND_PORT, Manifest
from e2e.kind import Kind
from e2e.stage import Stage

BROKEN_IMAGE = "127.0.0.1:1/e2e/no-such-image:broken"
"""Nothing listens there: the kubelet gets its ErrImagePull at once, and no network is asked."""


@asynccontextmanager
async def cut_off(stage: Stage, pod: Manifest) -> AsyncIterator[None]:
    """Packets of other pods to the pod's MCP port vanish; the kubelet still reaches it."""
    pid = stage.kind.pid_of(pod["status"]["containerStatuses"][0]["containerID"])
    kubelet = stage.kind.in_network_of(pid, "sh", "-c", "ip -4 route show default | cut -d' ' -f3").strip()
    match = ["INPUT", "-p", "tcp", "--dport", str(BACKEND_PORT), "!", "-s", kubelet, "-j", "DROP"]
    stage.kind.in_network_of(pid, "iptables", "-I", *match)
    try:
        yield
    finally:
        stage.kind.in_network_of(pid, "iptables", "-D", *match)


def kill_api_server(kind: Kind) -> None:
    """End the API server as a crash would; the kubelet starts it again."""
    kind.in_node("pkill", "-9", "-x", "kube-apiserver")


def kill(kind: Kind, pod: Manifest) -> None:
    """End a pod's first container as a crash would."""
    kind.in_node("kill", "-9", str(kind.pid_of(pod["status"]["containerStatuses"][0]["containerID"])))
