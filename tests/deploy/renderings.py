"""What helm and kustomize make of `deploy/`, in a form that can be compared."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from vmcp_dev.binaries import find_binaries
from vmcp_dev.deployfiles import rendered, without_helm

JsonObject = dict[str, Any]
Identity = tuple[str, str, str]

MODES = {
    "cluster-wide": (),
    "namespaced": ("namespaces={vmcp-system}",),
    "highly-available": ("replicas=2",),
}
"""Overlay of the kustomization, and the chart's settings for the same."""

ADMISSION = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
CLUSTER_KINDS = {"CustomResourceDefinition", "Namespace", *ADMISSION}
"""What belongs to the cluster in every mode, and is no right of the operator."""


def kustomized(folder: Path) -> list[JsonObject]:
    command = [find_binaries().kubectl, "kustomize", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def helmed(overlay: str, *settings: str) -> list[JsonObject]:
    return rendered(*MODES[overlay], *settings)


def by_identity(objects: Iterable[JsonObject]) -> dict[Identity, JsonObject]:
    """Without what names the tool that made them."""
    found: dict[Identity, JsonObject] = {}
    for obj in objects:
        plain = without_helm(obj)
        metadata = plain["metadata"]
        identity = plain["kind"], metadata.get("namespace", ""), metadata["name"]
        assert identity not in found, identity
        found[identity] = plain
    return found


def of_kind(objects: Iterable[JsonObject], *kinds: str) -> list[JsonObject]:
    return [obj for obj in objects if obj["kind"] in kinds]


def deployment(objects: Iterable[JsonObject]) -> JsonObject:
    (found,) = of_kind(objects, "Deployment")
    return found


def container(objects: Iterable[JsonObject]) -> JsonObject:
    (found,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found
