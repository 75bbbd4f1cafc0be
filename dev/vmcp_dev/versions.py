"""What the embedded control plane is made of, and whether a binary found on PATH fits."""

import re
import subprocess
from pathlib import Path

KUBERNETES = "v1.36.3"
ETCD = "v3.6.8"
TOOLS = {"helm": "v4.3.1", "promtool": "v0.316.0"}
"""As in the go.mod of each, in `gomod/`."""
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")

_FITS = {
    "etcd": re.compile(r"etcd Version: 3\.6\.\d+\b"),
    "kube-apiserver": re.compile(rf"Kubernetes {re.escape(KUBERNETES)}\s*$"),
    "kube-controller-manager": re.compile(rf"Kubernetes {re.escape(KUBERNETES)}\s*$"),
    "kubectl": re.compile(r"Client Version: v1\.3\d\."),
}


def fits(name: str, binary: Path) -> bool:
    """Whether the binary reports a version that may be used; False when it cannot even say."""
    question = ["version", "--client"] if name == "kubectl" else ["--version"]
    try:
        answer = subprocess.run([binary, *question], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return _FITS[name].search(answer.stdout) is not None
