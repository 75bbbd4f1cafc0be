"""The operator as a local process, as tests, demo and `up` start it."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vmcp_dev.childprocess import ChildProcess


def start_operator(
    kubeconfig: Path,
    env: Mapping[str, str] | None = None,
    *,
    log: Path | None = None,
    arguments: Sequence[str] = (),
) -> ChildProcess:
    """Start `vmcp operator` on that cluster. Whoever starts it stops it: `stop`, `terminate` or `kill`.

    Args:
        env: more environment, over ours.
        log: file for its output; None = `operator.log` beside the kubeconfig.
        arguments: more arguments of the command.
    """
    command = [sys.executable, "-m", "vmcp.cli", "operator", f"--kubeconfig={kubeconfig}", *arguments]
    environment = {
        **os.environ,
        "VMCP_ALLOW_LOOPBACK": "true",
        # Nothing here runs their pods: whoever starts it plays the operator that does.
        "VMCP_MANAGE_MCPSERVERS": "false",
        "PYTHONUNBUFFERED": "1",
        **(env or {}),
    }
    return ChildProcess("operator", command, log=log or kubeconfig.with_name("operator.log"), env=environment)
