import json
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcp_dev import auditlog
from vmcp_dev.controlplane import ControlPlane, ControlPlaneError
from vmcp_dev.kubectl import Kubectl, KubectlError


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def deployment(namespace: str, *, replicas: int = 1) -> dict[str, object]:
    labels = {"app": "any"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "any", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "any", "image": "any"}]},
            },
        },
    }


def test_kubeconfig_is_readable_by_its_owner_only(control_plane: ControlPlane) -> None:
    assert stat.S_IMODE(control_plane.kubeconfig.stat().st_mode) == 0o600


def test_a_new_namespace_gets_its_service_account_and_the_clusters_ca(kubectl: Kubectl, namespace: str) -> None:
    eventually(lambda: "kube-root-ca.crt" in kubectl("-n", namespace, "get", "configmaps", "-o", "name"))
    assert "default" in kubectl("-n", namespace, "get", "serviceaccounts", "-o", "name")


def test_a_deployment_makes_pods_and_takes_them_along(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(deployment(namespace, replicas=2))
    eventually(lambda: len(kubectl.json("-n", namespace, "get", "pods")["items"]) == 2)
    kubectl("-n", namespace, "delete", "deployment", "any")
    eventually(lambda: not kubectl.json("-n", namespace, "get", "replicasets,pods")["items"])


def test_a_service_account_token_has_the_rights_of_its_account_only(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    config = json.loads(control_plane.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = control_plane.kubectl("-n", namespace, "create", "token", "default").strip()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    as_account = Kubectl(control_plane.binaries.kubectl, kubeconfig)
    assert f"system:serviceaccount:{namespace}:default" in as_account("auth", "whoami")
    with pytest.raises(KubectlError, match="cannot list resource"):
        as_account("-n", namespace, "get", "secrets")


def test_what_is_stored_outlives_the_api_server(control_plane: ControlPlane, namespace: str) -> None:
    before = control_plane.server
    control_plane.kill_apiserver()
    with pytest.raises(KubectlError):
        control_plane.kubectl("get", "namespace", namespace)
    control_plane.start_apiserver()
    assert namespace in control_plane.kubectl("get", "namespace", namespace)
    control_plane.stop_apiserver()
    control_plane.start_apiserver()
    assert namespace in control_plane.kubectl("get", "namespace", namespace)
    assert control_plane.server == before
    control_plane.check()


def test_what_an_object_of_our_kinds_owns_goes_with_it(kubectl: Kubectl, namespace: str) -> None:
    group = {"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPGroup"}
    kubectl.apply({**group, "metadata": {"name": "owner", "namespace": namespace}, "spec": {}})
    uid = kubectl.json("-n", namespace, "get", "mcpgroup", "owner")["metadata"]["uid"]
    meta = {"name": "owned", "namespace": namespace, "ownerReferences": [{**group, "name": "owner", "uid": uid}]}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    kubectl("-n", namespace, "delete", "mcpgroup", "owner")
    eventually(lambda: "owned" not in kubectl("-n", namespace, "get", "configmaps", "-o", "name"))


def test_requests_are_audited(control_plane: ControlPlane, namespace: str) -> None:
    assert control_plane.audit_log is not None
    entries = auditlog.entries(control_plane.audit_log, naming=namespace)
    assert any(e["verb"] == "create" and e.get("objectRef", {}).get("name") == namespace for e in entries)


def test_a_folder_is_picked_up_again_and_a_death_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ControlPlane(tmp_path) as first:
        first.kubectl("create", "namespace", "kept")
    with ControlPlane(tmp_path) as second, caplog.at_level(logging.ERROR):
        assert "kept" in second.kubectl("get", "namespaces")
        pid = second.pids()["kube-controller-manager"]
        os.kill(pid, 9)
        eventually(lambda: "kube-controller-manager ended with status 137" in caplog.text)
        with pytest.raises(ControlPlaneError, match="kube-controller-manager ended with status 137"):
            second.check()


def test_nothing_runs_after_the_end(tmp_path: Path) -> None:
    with ControlPlane(tmp_path) as running:
        pids = running.pids()
        assert len(pids) == 3
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
