from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.stage import OperatorProcess, Stage

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl


@pytest.fixture
def stage(kubectl: Kubectl, crds: None, namespace: str) -> Stage:
    return Stage(kubectl, namespace)


@pytest.fixture
def operator(control_plane: ControlPlane, stage: Stage, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Serves the test's namespace. Whatever a test did to it, no traceback may be in its log."""
    running = OperatorProcess(control_plane.kubeconfig, stage.namespace, tmp_path / "operator.log")
    running.start()
    yield running
    running.stop()
    log = running.log.read_text()
    assert "Traceback" not in log, log
