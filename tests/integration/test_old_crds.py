"""CRDs older than the operator: it says what they lack, is not ready, and goes on."""

from pathlib import Path
from typing import Any

import yaml
from tests.integration.stage import Stage, eventually, gateway, group
from tests.integration.twin import twins

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS, install_crds


def _older(folder: Path) -> Path:
    """Our CRDs without one field of the status."""
    folder.mkdir()
    for path in CRDS.glob("*.yaml"):
        document: dict[str, Any] = yaml.safe_load(path.read_text())
        if document["spec"]["names"]["kind"] == "VirtualMCPServer":
            for version in document["spec"]["versions"]:
                status = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
                del status["discoveredBackends"]["items"]["properties"]["circuitOpenUntil"]
        (folder / path.name).write_text(yaml.safe_dump(document))
    return folder


def test_an_operator_newer_than_the_crds_is_not_ready_until_they_are_applied(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "control-plane", crds=_older(tmp_path / "crds")) as control_plane:
        stage = Stage(control_plane.kubectl, "default")
        with twins(control_plane.kubeconfig, stage, tmp_path, "operator") as (operator,):
            eventually(lambda: operator.answer("/readyz")[1].startswith("CRD "))
            status, text = operator.answer("/readyz")
            assert status == 503
            assert "it lacks .status.discoveredBackends[].circuitOpenUntil" in text
            assert "kubectl apply --server-side -f crds/" in text
            eventually(lambda: text.strip() in operator.log.read_text())
            assert operator.answer("/healthz")[0] == 200
            stage.apply(group(), gateway())
            assert eventually(lambda: stage.exists("deployment", "front")), "what needs no new field goes on"
            install_crds(control_plane.kubectl, CRDS)
            eventually(operator.leads)
            eventually(lambda: "the CRDs are as new as this operator now" in operator.log.read_text())
