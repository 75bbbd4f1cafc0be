"""Fixtures for tests on a real API server: `pytest_plugins = ["vmcp_dev.pytest_fixtures"]`.

Nothing here is async, so that tests on any event loop can use it.
"""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS
from vmcp_dev.kubectl import Kubectl, KubectlError
from vmcp_dev.redisserver import RedisServer
from vmcp_dev.runner import LocalRunner
from vmcp_dev.runnerthread import RunnerThread

_ACCOUNT_SECONDS = 60.0


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the project's CRDs for the whole test run; logs stay in pytest's temporary folder."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane"), crds=CRDS, audit=True) as running:
        yield running


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> None:
    """The project's CRDs are served: `control_plane` brings them; asking for this says that a test needs them."""


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """kubectl as the administrator."""
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own, with its default ServiceAccount; deleted afterwards, not awaited."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    kubectl("create", "namespace", name)
    _await_account(kubectl, name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def local_runner(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerThread]:
    """Runs gateway pods of all namespaces as `vmcp` processes."""
    folder: Path = tmp_path_factory.mktemp("local-runner")
    with RunnerThread(LocalRunner(control_plane.kubeconfig, folder)) as runner:
        yield runner


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, empty."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def _await_account(kubectl: Kubectl, namespace: str) -> None:
    # A pod created before its ServiceAccount is refused.
    deadline = time.monotonic() + _ACCOUNT_SECONDS
    while True:
        try:
            kubectl("-n", namespace, "get", "serviceaccount", "default")
            return
        except KubectlError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
