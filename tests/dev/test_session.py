import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmcp_dev.binaries import find_binaries
from vmcp_dev.kubectl import Kubectl
from vmcp_dev.versions import KUBERNETES

ROOT = Path(__file__).parents[2]
GROUP = """
apiVersion: toolhive.stacklok.dev/v1beta1
kind: MCPGroup
metadata: {name: from-a-file, namespace: default}
spec: {}
"""


class Terminal:
    """Calls `python -m vmcp_dev` as from a shell; the state file is the test's own."""

    def __init__(self, home: Path) -> None:
        self.env = {
            **os.environ,
            "XDG_STATE_HOME": str(home),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "dev")]),
        }

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "vmcp_dev", *arguments]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "state")


def test_a_session_is_found_used_and_ended_from_another_terminal(terminal: Terminal, tmp_path: Path) -> None:
    manifest = tmp_path / "group.yaml"
    manifest.write_text(GROUP)
    session = terminal.start("run", "-f", str(manifest))
    try:
        assert session.stdout is not None
        said = [session.stdout.readline() for _ in range(3)]
        assert said[2] == "mcpgroup.toolhive.stacklok.dev/from-a-file created\n", said
        status, kubeconfig, _ = terminal.run("kubeconfig")
        assert status == 0
        assert said[1] == f"export KUBECONFIG={kubeconfig}"
        kubectl = Kubectl(find_binaries().kubectl, Path(kubeconfig.strip()))
        assert KUBERNETES in kubectl("version")
        status, _, err = terminal.run("up")
        assert (status, err) == (1, "vmcp-dev: a session is up already; end it with: python -m vmcp_dev down\n")
        assert terminal.run("down")[0] == 0
        assert session.wait(timeout=60) == 0
        assert not Path(kubeconfig.strip()).exists()
    finally:
        session.terminate()
        session.communicate(timeout=60)


def test_without_a_session_the_message_says_how_to_start_one(terminal: Terminal) -> None:
    for command in ("down", "kubeconfig"):
        status, _, err = terminal.run(command)
        assert (status, err) == (1, "vmcp-dev: nothing is up; start it with: python -m vmcp_dev up\n")
