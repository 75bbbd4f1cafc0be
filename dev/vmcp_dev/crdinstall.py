"""Installs the project's CRDs."""

from pathlib import Path

from vmcp_dev.kubectl import Kubectl

CRDS = Path(__file__).parents[2] / "crds"


def install_crds(kubectl: Kubectl, folder: Path) -> None:
    """Apply all CRDs of the folder and wait until they are served.

    Raises:
        KubectlError: one is refused, or not established within a minute.
    """
    files = [f"--filename={path}" for path in sorted(folder.glob("*.yaml"))]
    kubectl("apply", "--server-side", "--force-conflicts", *files)
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
