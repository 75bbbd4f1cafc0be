"""kubectl against one cluster, as a user would call it."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class KubectlError(Exception):
    """kubectl ended with another status than 0.

    Attributes:
        stderr: what it said.
        status: its exit status.
    """

    def __init__(self, arguments: tuple[str, ...], status: int, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)} ended with {status}: {stderr.strip()}")
        self.status = status
        self.stderr = stderr


class Kubectl:
    """Runs kubectl with one kubeconfig and no other configuration."""

    def __init__(self, binary: Path, kubeconfig: Path) -> None:
        self.binary = binary
        self.kubeconfig = kubeconfig

    def __call__(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 120.0) -> str:
        """Its stdout.

        Raises:
            KubectlError: it ended with another status than 0.
            subprocess.TimeoutExpired: it did not end in time.
        """
        done = subprocess.run(
            [self.binary, f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(arguments, done.returncode, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What `kubectl ... -o json` prints, decoded."""
        return json.loads(self(*arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> str:
        """Server-side apply of objects given as dicts."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(document))
