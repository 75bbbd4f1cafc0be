"""Helm and kustomize install the same."""

import pytest
from tests.deploy.renderings import MODES, by_identity, container, helmed, kustomized

import vmcp
from vmcp_dev.deployfiles import CHART, KUSTOMIZE, copied_files, documents, stale

EACH_MODE = pytest.mark.parametrize("overlay", MODES)


@EACH_MODE
def test_helm_and_kustomize_render_the_same_objects(overlay: str) -> None:
    ours, theirs = by_identity(kustomized(KUSTOMIZE / "overlays" / overlay)), by_identity(helmed(overlay))
    # Helm is given its namespace by --create-namespace.
    del ours["Namespace", "", "vmcp-system"]

    assert ours.keys() == theirs.keys(), "run `make deploy`"
    for identity, obj in ours.items():
        assert obj == theirs[identity], f"{identity}: run `make deploy`"


@EACH_MODE
def test_gateways_run_the_image_of_the_operator_and_of_its_version(overlay: str) -> None:
    operator = container(kustomized(KUSTOMIZE / "overlays" / overlay))
    (image,) = [each["value"] for each in operator["env"] if each["name"] == "VMCP_IMAGE"]
    assert operator["image"] == image == f"vmcp-operator:{vmcp.__version__}"


def test_what_is_written_twice_is_the_same() -> None:
    assert stale(copied_files()) == [], "run `make deploy`"
    assert stale(documents()) == [], "run `make deploy`"


def test_the_chart_holds_no_crd_that_is_gone() -> None:
    crds = {path for path in copied_files() if path.parent.name == "crds"}
    assert set((CHART / "files" / "crds").iterdir()) == {path for path in crds if path.suffix}
