"""These tests stop API servers and run pods with a stand-in, so they keep to control planes of their own."""

from collections.abc import Iterator

import pytest

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS
from vmcp_dev.kubectl import Kubectl


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("control-plane"), crds=CRDS, audit=True) as running:
        yield running


@pytest.fixture(scope="module")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    return control_plane.kubectl
