"""What is rendered installs on a real API server, and its pods pass the restricted Pod Security Standard."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.renderings import MODES, container, deployment, kustomized, of_kind
from tests.integration.stage import eventually

from vmcp_dev.deployfiles import KUSTOMIZE, NAMESPACE, rendered
from vmcp_dev.kubectl import Kubectl

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}


@pytest.fixture
def restricted(kubectl: Kubectl) -> Iterator[str]:
    name = f"restricted-{uuid.uuid4().hex[:8]}"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_operators_pods_are_made_in_a_restricted_namespace(
    kubectl: Kubectl, restricted: str, replicas: int
) -> None:
    settings = (f"namespaces={{{restricted}}}", "crds.install=false", f"replicas={replicas}")
    objects = rendered(*settings, namespace=restricted, name=restricted)
    ours = [obj for obj in objects if "namespace" in obj["metadata"]]
    kubectl.apply(*ours)

    def pods() -> list[Any]:
        found = kubectl.json("-n", restricted, "get", "pods", "-l", f"app.kubernetes.io/instance={restricted}")
        items: list[Any] = found["items"]
        return items

    eventually(lambda: len(pods()) == replicas)
    stored = kubectl.json("-n", restricted, "get", "deployment", restricted)
    assert "ReplicaFailure" not in {each["type"] for each in stored["status"].get("conditions", [])}
    security = pods()[0]["spec"]["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"]


@pytest.fixture(scope="module")
def system_namespace(kubectl: Kubectl) -> Iterator[None]:
    """The namespace of the kustomization: a dry run needs it to exist."""
    (namespace,) = of_kind(kustomized(KUSTOMIZE / "overlays" / "cluster-wide"), "Namespace")
    kubectl.apply(namespace)
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize("overlay", MODES)
def test_an_overlay_applies_by_kubectl_alone(
    kubectl: Kubectl, crds: None, system_namespace: None, overlay: str
) -> None:
    folder = KUSTOMIZE / "overlays" / overlay
    assert "deployment.apps/vmcp-operator created" in kubectl("apply", "--dry-run=server", "-k", str(folder))
    # Without server-side apply each object is kept in an annotation too, which has a limit.
    for crd in of_kind(kustomized(folder), "CustomResourceDefinition"):
        assert len(json.dumps(crd)) < 262_144


def test_an_overlay_may_be_moved_to_another_namespace(
    kubectl: Kubectl, crds: None, restricted: str, tmp_path: Path
) -> None:
    base = os.path.relpath(KUSTOMIZE / "overlays" / "cluster-wide", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [base], "namespace": restricted}))
    moved = kustomized(tmp_path)
    assert deployment(moved)["metadata"]["namespace"] == restricted
    (binding,) = of_kind(moved, "ClusterRoleBinding")
    assert binding["subjects"][0]["namespace"] == restricted
    kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", str(tmp_path))


def test_the_kustomization_of_the_document_names_one_image_for_all(tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "install.md").read_text()
    (text,) = re.findall(r"^```yaml\n(resources:.*?)^```", document, re.DOTALL | re.MULTILINE)
    base = os.path.relpath(KUSTOMIZE / "overlays" / "cluster-wide", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(text.replace("../cluster-wide", base))
    operator = container(kustomized(tmp_path))
    assert operator["image"] == "registry.example.com/vmcp-operator:0.1.0"
    assert {"name": "VMCP_IMAGE", "value": operator["image"]} in operator["env"]
