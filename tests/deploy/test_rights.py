"""The operator under its own account: what it may is what it does, on a real API server."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.renderings import container, of_kind
from tests.integration.stage import GROUP, Stage, entry, eventually, gateway, group

from vmcp_dev import auditlog
from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.deployfiles import permissions, rendered
from vmcp_dev.operatorprocess import start_operator

KINDS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")

Right = tuple[str, str, str]
"""API group, resource with subresource, verb."""


class Account:
    """The operator's ServiceAccount as the chart makes it, and what the audit log says of it."""

    def __init__(self, control_plane: ControlPlane, name: str, *settings: str) -> None:
        self.control_plane = control_plane
        self.name = name
        scopes = {"own", "served"} if settings else {"own", "served", "cluster"}
        self.held = {
            right for each in permissions() if each.scope in scopes and not each.granted_on for right in each.rights
        }
        everything = rendered(
            "crds.install=false", "admissionPolicy.install=false", *settings, name=name, namespace=name
        )
        self.container = container(everything)
        self.objects = of_kind(everything, *KINDS)
        control_plane.kubectl.apply(*self.objects)

    def start(self, folder: Path, log: Path) -> ChildProcess:
        """As its pod would, but that a process here is in no namespace, and that several cannot share a port."""
        arguments = [each for each in self.container["args"][1:] if not each.startswith("--listen")]
        environment = {each["name"]: each["value"] for each in self.container["env"]}
        return start_operator(
            self.kubeconfig(folder), environment, log=log, arguments=[*arguments, f"--lease-namespace={self.name}"]
        )

    def kubeconfig(self, folder: Path) -> Path:
        token = self.control_plane.kubectl("-n", self.name, "create", "token", self.name, "--duration=1h").strip()
        config = json.loads(self.control_plane.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = folder / "operator.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def entries(self) -> list[dict[str, Any]]:
        assert self.control_plane.audit_log is not None
        user = f"system:serviceaccount:{self.name}:{self.name}"
        return [
            each
            for each in auditlog.entries(self.control_plane.audit_log, naming=user)
            if each["user"]["username"] == user and each["stage"] != "RequestReceived"
        ]

    def used(self) -> set[Right]:
        found: set[Right] = set()
        for each in self.entries():
            reference = each.get("objectRef")
            if reference is None:
                continue
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            api_group = reference.get("apiGroup", "")
            found.add((api_group, resource, each["verb"]))
            if each["verb"] == "patch" and each.get("responseStatus", {}).get("code") == 201:
                found.add((api_group, resource, "create"))
        return found

    def refused(self, *namespaces: str) -> list[str]:
        """What it was forbidden there, or in the cluster; in other namespaces, that go, everyone is."""
        return [
            f"{each['verb']} {each['requestURI']}"
            for each in self.entries()
            if each.get("responseStatus", {}).get("code") == 403
            and each.get("objectRef", {}).get("namespace", "") in ("", *namespaces)
        ]

    def remove(self) -> None:
        for obj in self.objects:
            if "namespace" not in obj["metadata"]:
                self.control_plane.kubectl("delete", obj["kind"], obj["metadata"]["name"])


@pytest.fixture
def home(control_plane: ControlPlane) -> Iterator[str]:
    """The operator's own namespace."""
    name = f"operator-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(params=["namespaced", "cluster-wide"])
def account(
    request: pytest.FixtureRequest, control_plane: ControlPlane, home: str, namespace: str, tmp_path: Path
) -> Iterator[Account]:
    """An operator at work under its account; it is stopped cleanly, as a pod is."""
    served = [f"namespaces={{{namespace}}}"] if request.param == "namespaced" else []
    made = Account(control_plane, home, *served)
    log = tmp_path / "operator.log"
    running = made.start(tmp_path, log)
    try:
        eventually(lambda: not running.running or holder(control_plane, home))
        assert running.running, log.read_text()
        yield made
    finally:
        running.stop(20)
        made.remove()
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture
def stage(control_plane: ControlPlane, namespace: str) -> Stage:
    return Stage(control_plane.kubectl, namespace)


def holder(control_plane: ControlPlane, name: str) -> str:
    """Of the operator's Lease."""
    found: str = control_plane.kubectl.json("-n", name, "get", "lease", name)["spec"]["holderIdentity"]
    return found


def server(name: str, **spec: Any) -> dict[str, Any]:
    whole = {"image": "example.com/mcp:1", "transport": "streamable-http", "groupRef": {"name": "tools"}, **spec}
    return {"apiVersion": GROUP, "kind": "MCPServer", "metadata": {"name": name}, "spec": whole}


def foreign(obj: dict[str, Any], finalizer: str) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "finalizers": [finalizer]}}


def test_the_operator_is_refused_nothing_and_may_nothing_else(account: Account, stage: Stage) -> None:
    remote = {"groupRef": {"name": "tools"}, "remoteUrl": "http://127.0.0.1:9/mcp", "transport": "streamable-http"}
    proxied = {"apiVersion": GROUP, "kind": "MCPRemoteProxy", "metadata": {"name": "remote"}, "spec": remote}
    stage.apply(group(), entry("dead", "http://127.0.0.1:9/mcp"), gateway(), proxied)
    # No pod of `stuck` is made: its account does not exist.
    stage.apply(server("search"), server("local", transport="stdio"), server("stuck", serviceAccount="nobody"))
    eventually(lambda: stage.exists("deployment", "front"))
    eventually(lambda: stage.exists("deployment", "local-proxy"))
    eventually(lambda: stage.backend("front", "dead")["circuitBreakerState"] == "open")
    eventually(lambda: stage.status("front")["phase"])
    eventually(lambda: stage.get("mcpserver", "search")["status"]["phase"])
    eventually(lambda: "nobody" in stage.get("mcpserver", "stuck")["status"]["message"])

    # What an earlier spec made goes; what must not run goes as a whole; objects that came from ToolHive may go.
    stage.apply(server("local"), server("search", oidcConfigRef={"name": "login", "audience": "tools"}))
    eventually(lambda: not stage.exists("deployment", "local-proxy"))
    eventually(lambda: not stage.exists("statefulset", "search"))
    stage.apply(foreign(group("old"), "toolhive.stacklok.dev/mcpgroup-finalizer"))
    stage.apply(foreign(server("older"), "mcpserver.toolhive.stacklok.dev/finalizer"))
    for kind, name in (("mcpgroup", "old"), ("mcpserver", "older")):
        stage.delete(kind, name)
        eventually(lambda kind=kind, name=name: not stage.exists(kind, name))  # type: ignore[misc]

    # Events are written by and by.
    eventually(lambda: not account.held - account.used())
    assert account.refused(account.name, stage.namespace) == []
    assert account.used() - account.held == set(), "used and not in files/permissions.yaml"
