"""What a person needs who looks into a scenario that failed: objects, Events, logs and audit."""

import json
import re
import subprocess
from pathlib import Path

from e2e.kind import HERE, Kind
from vmcp_dev.kubectl import KubectlError

FOLDER = HERE / "artifacts"

_OBJECTS = (
    "virtualmcpservers,mcpgroups,mcpservers,mcpremoteproxies,mcpserverentries,"
    "deployments,statefulsets,pods,services,configmaps,leases,networkpolicies"
)


def collect(kind: Kind, test: str, namespaces: list[str], accounts: list[str]) -> Path:
    """Write everything about those namespaces, and the calls of those accounts, into a folder of the test's own."""
    folder = FOLDER / re.sub(r"[^\w.-]+", "_", test)
    folder.mkdir(parents=True, exist_ok=True)
    _keep(folder / "nodes.txt", kind, "describe", "nodes")
    for namespace in namespaces:
        _keep(folder / f"{namespace}.yaml", kind, "-n", namespace, "get", _OBJECTS, "-o", "yaml")
        _keep(folder / f"{namespace}.events.txt", kind, "-n", namespace, "get", "events", "--sort-by=.lastTimestamp")
        for pod in _pods(kind, namespace):
            for previous in (False, True):
                log = folder / f"{namespace}.{pod}{'.previous' if previous else ''}.log"
                arguments = ["--all-containers", "--timestamps", f"--previous={str(previous).lower()}"]
                _keep(log, kind, "-n", namespace, "logs", pod, *arguments)
    for account in accounts:
        lines = [json.dumps(event) for event in kind.audited(account)]
        (folder / f"audit.{account.replace(':', '.')}.jsonl").write_text("\n".join(lines))
    return folder


def _pods(kind: Kind, namespace: str) -> list[str]:
    try:
        return [
            name.removeprefix("pod/") for name in kind.kubectl("-n", namespace, "get", "pods", "-o", "name").split()
        ]
    except (KubectlError, subprocess.TimeoutExpired):
        return []


def _keep(path: Path, kind: Kind, *arguments: str) -> None:
    """What kubectl prints, or why it prints nothing; a log that does not exist is not worth a file."""
    try:
        path.write_text(kind.kubectl(*arguments))
    except KubectlError as error:
        if "logs" not in arguments:
            path.write_text(error.stderr)
    except subprocess.TimeoutExpired as error:
        path.write_text(str(error))
