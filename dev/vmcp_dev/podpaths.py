"""Moves a container's paths and address to where they are on this machine: pure functions."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vmcp_dev.loopback import PodAddress


def moved(text: str, mounts: Mapping[str, Path]) -> str:
    """The text with every path at or below a mount path replaced by its local place.

    `--config=/etc/a/config.yaml` moves with a mount at `/etc/a`; `/etc/ab` and `/x/etc/a` do not.
    """
    if not mounts:
        return text
    # The longest first: a mount may lie inside another.
    paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])(?:{paths})(?![\w.-])", lambda match: str(mounts[match[0]]), text)


def listening(args: Sequence[str], address: PodAddress) -> list[str]:
    """The args with `--host=0.0.0.0` made the pod's IP; the port changes too where the IP is shared."""
    changed = [f"--host={address.ip}" if arg == "--host=0.0.0.0" else arg for arg in args]
    if address.own_ip:
        return changed
    return [
        f"--port={address.port(int(arg.removeprefix('--port=')))}" if arg.startswith("--port=") else arg
        for arg in changed
    ]


def local_port(args: Sequence[str], declared: int) -> int:
    """The port that the process listens on: that of `--port`, else the declared one."""
    return next((int(arg.removeprefix("--port=")) for arg in args if arg.startswith("--port=")), declared)
