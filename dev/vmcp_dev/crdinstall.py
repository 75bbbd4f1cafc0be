"""Installs CRDs."""

import time
from pathlib import Path
from typing import Final

from vmcp_dev.kubectl import Kubectl, KubectlError

CRDS = Path(__file__).parents[2] / "crds"
PATIENCE_S: Final = 60.0


def install_crds(kubectl: Kubectl, folder: Path) -> None:
    """Apply all CRDs of the folder and wait until they are served.

    Raises:
        KubectlError: one is refused, or not established within a minute.
    """
    files = [f"--filename={path}" for path in sorted(folder.glob("*.yaml"))]
    kubectl("apply", "--server-side", "--force-conflicts", *files)
    await_established(kubectl, *files)


def await_established(kubectl: Kubectl, *which: str) -> None:
    """Wait until the CRDs are served that these arguments of kubectl name.

    Raises:
        KubectlError: one is not established within a minute.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            kubectl("wait", "--for=condition=Established", f"--timeout={PATIENCE_S:g}s", *which)
            return
        except KubectlError as error:
            # What kubectl makes of a CRD that is so new that its status has none of its conditions yet.
            if "accessor error" not in error.stderr or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
