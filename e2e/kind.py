"""The kind cluster that everything runs on: its node, its images, its API and its audit log."""

import base64
import os
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import yaml

from vmcp_dev import auditlog
from vmcp_dev.binaries import cached_binaries
from vmcp_dev.kubectl import Kubectl
from vmcp_dev.paths import cache_folder

HERE = Path(__file__).parent
REPOSITORY = HERE.parent

_UP_SECONDS = 5400.0
_COMMAND_SECONDS = 300.0
_AUDIT_LOG = "/var/log/kubernetes/audit.log"


class CommandFailed(Exception):
    """A program ended with another status than 0. The message holds what it said."""


def run(*command: str | Path, stdin: str | None = None, timeout_s: float = _COMMAND_SECONDS) -> str:
    """Its stdout.

    Raises:
        CommandFailed: it ended with another status than 0.
        subprocess.TimeoutExpired: it did not end in time.
    """
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        said = (done.stdout[-2000:] + done.stderr[-4000:]).strip()
        raise CommandFailed(f"{' '.join(map(str, command))} ended with {done.returncode}: {said}")
    return done.stdout


class Kind:
    """One cluster of one node.

    Attributes:
        name: of the cluster; its context is `kind-<name>`.
        node: the container that is the node.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.node = f"{name}-control-plane"
        kind_cache = os.environ.get("KIND_CACHE")
        self._bin = (Path(kind_cache) if kind_cache else cache_folder() / "kind") / "bin"
        self._credentials = tempfile.TemporaryDirectory(prefix="vmcp-e2e-")
        self._folder = Path(self._credentials.name)

    def up(self) -> None:
        """Bring it up, or find it up; what that prints goes to the terminal."""
        subprocess.run([HERE / "cluster" / "up", self.name], check=True, timeout=_UP_SECONDS)

    @cached_property
    def kubeconfig(self) -> Path:
        """A file with the administrator's credentials."""
        path = self._folder / "kubeconfig"
        path.write_text(run(self._bin / "kind", "get", "kubeconfig", "--name", self.name))
        return path

    @cached_property
    def kubectl(self) -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(cached_binaries() / "kubectl", self.kubeconfig)

    @cached_property
    def address(self) -> str:
        """The node's address, where NodePorts are reached from this machine."""
        network = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "inspect", "-f", network, self.node).strip()

    def in_node(self, *command: str) -> str:
        """Run a command as root in the node; its stdout."""
        return run("docker", "exec", self.node, *command)

    def in_network_of(self, pid: int, *command: str) -> str:
        """Run a command of the node in the network namespace of a process there."""
        return self.in_node("nsenter", "-t", str(pid), "-n", *command)

    def pid_of(self, container_id: str) -> int:
        """The process id, in the node, of a container as a Pod's status names it."""
        wanted = container_id.partition("://")[2]
        for line in self.in_node("ctr", "-n", "k8s.io", "tasks", "ls").splitlines():
            columns = line.split()
            if columns and columns[0] == wanted:
                return int(columns[1])
        raise LookupError(f"no task of container {container_id} runs in {self.node}")

    def load(self, image: str) -> None:
        """Bring an image of the local Docker into the node, unless it is there."""
        if image in self.in_node("ctr", "-n", "k8s.io", "images", "ls", "-q"):
            return
        run(self._bin / "kind", "load", "docker-image", image, "--name", self.name, timeout_s=900.0)

    def client(self) -> httpx.AsyncClient:
        """Its API as the administrator, for what kubectl would be too slow for."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        files = {}
        for key, value in {**server, **user}.items():
            if key.endswith("-data"):
                files[key] = self._folder / key
                files[key].write_bytes(base64.b64decode(value))
        trust = ssl.create_default_context(cafile=str(files["certificate-authority-data"]))
        trust.load_cert_chain(files["client-certificate-data"], files["client-key-data"])
        return httpx.AsyncClient(base_url=server["server"], verify=trust, timeout=10.0)

    def audited(self, user: str) -> Iterator[dict[str, Any]]:
        """Every call of a user that the API server has answered since the log began."""
        text = self.in_node("sh", "-c", f"cat {_AUDIT_LOG.removesuffix('.log')}*.log | grep -F '\"{user}\"' || true")
        for event in auditlog.parsed(text.splitlines()):
            if event["user"]["username"] == user:
                yield event
