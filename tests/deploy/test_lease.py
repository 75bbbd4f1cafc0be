"""The operator's Lease goes with the installation, whoever made either."""

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from tests.deploy.renderings import ADMISSION, JsonObject, kustomized, of_kind
from tests.integration.stage import eventually

from vmcp.kube import ownaccount
from vmcp.kube.client import connect
from vmcp.kube.lease import Lease
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.deployfiles import CHART, KUSTOMIZE, rendered
from vmcp_dev.kubectl import KubectlError
from vmcp_dev.tools import find_tool

NAME = "vmcp-operator"
LEASE: JsonObject = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}}


class Home:
    """The operator's own namespace, with what Helm or kubectl install there for an operator of this namespace."""

    def __init__(self, control_plane: ControlPlane, folder: Path) -> None:
        self.control_plane = control_plane
        self.folder = folder
        self.name = f"operator-{uuid.uuid4().hex[:8]}"
        control_plane.kubectl("create", "namespace", self.name)

    def kubectl(self, *arguments: str) -> str:
        return self.control_plane.kubectl("-n", self.name, *arguments)

    def helm(self, *arguments: str | Path) -> None:
        command = [find_tool("helm"), f"--kubeconfig={self.control_plane.kubeconfig}", f"--namespace={self.name}"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def install_chart(self, chart: Path = CHART) -> None:
        settings = f"crds.install=false,admissionPolicy.install=false,namespaces={{{self.name}}}"
        self.helm("upgrade", "--install", NAME, chart, f"--set={settings}")

    def kustomization(self) -> list[JsonObject]:
        """Without what belongs to the cluster, where others use it."""
        base = os.path.relpath(KUSTOMIZE / "overlays" / "namespaced", self.folder.resolve())
        (self.folder / "kustomization.yaml").write_text(
            yaml.safe_dump({"resources": [base], "namespace": self.name}), "utf-8"
        )
        return [obj for obj in kustomized(self.folder) if "namespace" in obj["metadata"]]

    def lease(self) -> JsonObject:
        found: JsonObject = self.control_plane.kubectl.json("-n", self.name, "get", "lease", NAME)
        return found

    def has_no_lease(self) -> bool:
        return not self.kubectl("get", "lease", "-o", "name")

    @asynccontextmanager
    async def operator(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lease]:
        """What the operator in a pod of this namespace has of the Lease: the account's token, and nothing else."""
        token = self.kubectl("create", "token", NAME, "--duration=1h").strip()
        (self.folder / "token").write_text(token)
        monkeypatch.setattr(ownaccount, "_FOLDER", self.folder)
        config = json.loads(self.control_plane.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        kubeconfig = self.folder / "operator.kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(json.dumps(config))
        async with connect(str(kubeconfig)) as kube:
            owner = ownaccount.own_account(self.name)
            lease = Lease(kube=kube, namespace=self.name, name=NAME, identity=uuid.uuid4().hex, owner=owner)
            async with asyncio.timeout(90):
                await lease.acquire()
            yield lease


@pytest.fixture
def home(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Home]:
    made = Home(control_plane, tmp_path)
    yield made
    made.control_plane.kubectl("delete", "namespace", made.name, "--wait=false")


def by_helm(home: Home) -> Callable[[], None]:
    home.install_chart()
    return lambda: home.helm("uninstall", NAME)


def by_kubectl(home: Home) -> Callable[[], None]:
    objects = home.kustomization()
    home.control_plane.kubectl.apply(*objects)

    def remove() -> None:
        for obj in objects:
            home.kubectl("delete", obj["kind"], obj["metadata"]["name"], "--wait=false")

    return remove


def a_chart_that_made_the_lease(folder: Path) -> Path:
    """As charts of before: they made an empty Lease, so that Helm removed it."""
    chart = folder / "earlier"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "lease.yaml").write_text(json.dumps(LEASE))
    return chart


@pytest.mark.parametrize("left_behind", [False, True], ids=["alone", "over a Lease left behind"])
@pytest.mark.parametrize("install", [by_helm, by_kubectl])
async def test_an_installation_that_is_removed_takes_the_lease_with_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, install: Callable[[Home], Callable[[], None]], left_behind: bool
) -> None:
    if left_behind:
        home.control_plane.kubectl.apply({**LEASE, "metadata": {"name": NAME, "namespace": home.name}})
    remove = install(home)
    async with home.operator(monkeypatch) as lease:
        assert lease.held
    remove()
    eventually(home.has_no_lease)


async def test_a_chart_that_made_the_lease_is_upgraded(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home.install_chart(a_chart_that_made_the_lease(tmp_path))
    async with home.operator(monkeypatch):
        assert home.lease()["spec"]["holderIdentity"]
    home.install_chart()
    assert home.has_no_lease(), "Helm removes what a chart no longer has"
    async with home.operator(monkeypatch):
        (owner,) = home.lease()["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("ServiceAccount", NAME)
    home.helm("uninstall", NAME)
    eventually(home.has_no_lease)


@pytest.fixture
def owners_are_kept(home: Home) -> Iterator[None]:
    """As with OwnerReferencesPermissionEnforcement: who may not delete an object may not give it an owner."""
    policy, binding = (of_kind(rendered(), kind)[0] for kind in ADMISSION)
    rule = {
        "apiGroups": ["coordination.k8s.io"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["leases"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": home.name}}
    no_owner = {"expression": "!has(object.metadata.ownerReferences)", "message": "no owner", "reason": "Forbidden"}
    home.control_plane.kubectl.apply(
        {
            **{name: policy[name] for name in ("apiVersion", "kind")},
            "metadata": {"name": home.name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
                "validations": [no_owner],
            },
        },
        {
            **{name: binding[name] for name in ("apiVersion", "kind")},
            "metadata": {"name": home.name},
            "spec": {"policyName": home.name, "validationActions": ["Deny"]},
        },
    )
    home.control_plane.kubectl.apply({**LEASE, "metadata": {"name": NAME, "namespace": home.name}})
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": "none"}
    patch = json.dumps({"metadata": {"ownerReferences": [owner]}})

    def refused() -> bool:
        try:
            home.kubectl("patch", "lease", NAME, "--type=merge", "--dry-run=server", "-p", patch)
        except KubectlError as error:
            return "no owner" in error.stderr
        return False

    eventually(refused)
    yield
    home.control_plane.kubectl("delete", f"{policy['kind']},{binding['kind']}", home.name)


async def test_a_lease_that_may_be_given_no_owner_is_taken_all_the_same(
    home: Home, owners_are_kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.install_chart()
    async with home.operator(monkeypatch) as lease:
        assert lease.held
        assert "ownerReferences" not in home.lease()["metadata"]
