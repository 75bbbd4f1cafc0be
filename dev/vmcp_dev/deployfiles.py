"""`python -m vmcp_dev.deployfiles`: writes what `deploy/` holds twice, from the one place where it is written.

The chart gets the CRDs and the alerts; the kustomization gets the chart's objects, rendered by helm; the documents get
the table of permissions.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vmcp_dev.tools import find_tool

JsonObject = dict[str, Any]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "vmcp-operator"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
NAME = "vmcp-operator"
NAMESPACE = "vmcp-system"
"""Where the kustomization puts the operator."""

GENERATED = "# Generated from deploy/helm/vmcp-operator by `make deploy`; do not edit.\n"
OF_HELM = ("app.kubernetes.io/managed-by", "helm.sh/chart")
"""Labels that say that Helm owns an object."""

_PERMISSIONS_BEGIN = "<!-- permissions: written by make deploy -->\n"
_PERMISSIONS_END = "<!-- end of permissions -->"


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry of the chart's files/permissions.yaml.

    Attributes:
        scope: own, served or cluster.
        when: always, or the value of the chart that must be true.
        granted_on: resources/verbs that are held only to be granted on.
    """

    scope: str
    when: str
    api_group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    reason: str
    granted_on: bool

    @property
    def rights(self) -> set[tuple[str, str, str]]:
        """Group, resource (with subresource) and verb of each right."""
        return {(self.api_group, resource, verb) for resource in self.resources for verb in self.verbs}


def permissions() -> list[Permission]:
    """Every right of the operator."""
    entries = yaml.safe_load((CHART / "files" / "permissions.yaml").read_text())
    return [
        Permission(
            scope=entry["scope"],
            when=entry["when"],
            api_group=entry["apiGroups"][0],
            resources=tuple(entry["resources"]),
            verbs=tuple(entry["verbs"]),
            reason=entry["for"],
            granted_on=entry.get("grantedOn", False),
        )
        for entry in entries
    ]


def rendered(*settings: str, namespace: str = NAMESPACE, name: str = NAME) -> list[JsonObject]:
    """The objects that helm makes of the chart, given `--set` arguments.

    Raises:
        subprocess.CalledProcessError: helm refuses; its `stderr` says why.
        BinaryNotFound: there is no helm.
    """
    command: list[str | Path] = [find_tool("helm"), "template", name, CHART, f"--namespace={namespace}"]
    command += [argument for setting in settings for argument in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def without_helm(obj: JsonObject) -> JsonObject:
    """The object without the marks of Helm."""
    metadata = dict(obj["metadata"])
    for field, marks in (("labels", OF_HELM), ("annotations", ("helm.sh/resource-policy",))):
        left = {key: value for key, value in metadata.pop(field, {}).items() if key not in marks}
        metadata |= {field: left} if left else {}
    return obj | {"metadata": metadata}


def copied_files() -> dict[Path, str]:
    """What the chart and the kustomization hold of the CRDs and alerts: Helm reads nothing outside of its chart."""
    crds = sorted((ROOT / "crds").glob("*.yaml"))
    list_of_crds = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [path.name for path in crds],
    }
    return {CHART / "files" / "crds" / path.name: path.read_text() for path in crds} | {
        CHART / "files" / "alerts.yaml": (ROOT / "deploy" / "alerts" / "vmcp.yaml").read_text(),
        # No .yaml: `kubectl apply -f crds/` takes every file that has it.
        ROOT / "crds" / "Kustomization": yaml.safe_dump(list_of_crds, sort_keys=False),
    }


def kustomize_files() -> dict[Path, str]:
    """What the kustomization holds of the chart's objects."""
    everywhere = rendered("crds.install=false")
    cluster_wide = _of(everywhere, "ClusterRole", "ClusterRoleBinding")
    base = [obj for obj in everywhere if obj not in cluster_wide]
    served = rendered("crds.install=false", f"namespaces={{{NAMESPACE}}}")
    several = rendered("crds.install=false", "replicas=2")
    watched = rendered("crds.install=false", "serviceMonitor.enabled=true", "prometheusRule.enabled=true")
    return {
        KUSTOMIZE / path: GENERATED + yaml.safe_dump_all(map(without_helm, objects), sort_keys=False, width=110)
        for path, objects in {
            "base/operator.yaml": base,
            "overlays/cluster-wide/roles.yaml": cluster_wide,
            "overlays/namespaced/roles.yaml": [
                obj for obj in _of(served, "Role", "RoleBinding") if obj["metadata"]["name"] == NAME
            ],
            "overlays/highly-available/pdb.yaml": _of(several, "PodDisruptionBudget"),
            "components/monitoring/monitoring.yaml": _of(watched, "ServiceMonitor", "PrometheusRule"),
        }.items()
    }


def documents() -> dict[Path, str]:
    """The document with the table of permissions."""
    path = ROOT / "docs" / "operations.md"
    text = path.read_text()
    pattern = re.escape(_PERMISSIONS_BEGIN) + ".*?" + re.escape(_PERMISSIONS_END)
    table = f"{_PERMISSIONS_BEGIN}\n{_table()}\n{_PERMISSIONS_END}"
    return {path: re.sub(pattern, lambda _: table, text, flags=re.DOTALL)}


def stale(files: Mapping[Path, str]) -> list[Path]:
    """Those that do not hold what they should."""
    return [path for path, text in files.items() if not path.is_file() or path.read_text() != text]


def _of(objects: Iterable[JsonObject], *kinds: str) -> list[JsonObject]:
    return [obj for obj in objects if obj["kind"] in kinds]


def _table() -> str:
    lines = ["| where | group | resources | verbs | for |", "|---|---|---|---|---|"]
    for entry in permissions():
        where = {"own": "its own namespace", "served": "served namespaces", "cluster": "the cluster"}[entry.scope]
        where += "" if entry.when == "always" else f", with `{entry.when}`"
        group = entry.api_group or "core"
        verbs = ", ".join(entry.verbs) + (" (only to grant them on)" if entry.granted_on else "")
        lines.append(f"| {where} | {group} | {', '.join(entry.resources)} | {verbs} | {entry.reason} |")
    return "\n".join(lines) + "\n"


def _main() -> int:
    # In this order: helm renders the files that the first step writes.
    for files in (copied_files, kustomize_files, documents):
        for path, text in files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
