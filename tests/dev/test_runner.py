import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl
from vmcp_dev.runner import LocalRunner
from vmcp_dev.runnerthread import RunnerThread

STAND_IN = Path(__file__).with_name("tiny_gateway.py")
LABELS = {"app.kubernetes.io/name": "virtualmcpserver", "app.kubernetes.io/instance": "tiny"}


@pytest.fixture
def runner(control_plane: ControlPlane, tmp_path: Path) -> Iterator[RunnerThread]:
    stand_in = LocalRunner(control_plane.kubeconfig, tmp_path, command=(sys.executable, str(STAND_IN)))
    with RunnerThread(stand_in) as thread:
        yield thread


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def objects(namespace: str) -> list[dict[str, Any]]:
    meta = {"name": "tiny", "namespace": namespace}
    container = {
        "name": "vmcp",
        "image": "any",
        "args": ["serve", "--config=/etc/vmcp-config/config.yaml", "--host=0.0.0.0", "--port=4483"],
        "ports": [{"name": "http", "containerPort": 4483}],
        "env": [
            {"name": "VMCP_NAME", "value": "tiny"},
            {"name": "VMCP_PLACE", "value": "/etc/vmcp-config/x:/etc/vmcp-config-other"},
            {"name": "VMCP_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "VMCP_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "VMCP_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "tiny", "key": "password"}}},
        ],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/vmcp-config"}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "initialDelaySeconds": 15},
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": "http"},
            "initialDelaySeconds": 1,
            "periodSeconds": 1,
            "timeoutSeconds": 20,
            "failureThreshold": 2,
        },
    }
    template = {
        "metadata": {"labels": LABELS},
        "spec": {
            "serviceAccountName": "tiny",
            "terminationGracePeriodSeconds": 20,
            "containers": [container],
            "volumes": [{"name": "config", "configMap": {"name": "tiny"}}],
        },
    }
    may = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    account = {"kind": "ServiceAccount", "name": "tiny", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tiny"}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": rbac, "kind": "Role", "metadata": meta, "rules": may},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": meta, "subjects": [account], "roleRef": role},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"config.yaml": "name: tiny"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"password": "swordfish"}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": LABELS}, "template": template},
        },
    ]


def pods(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = kubectl.json("-n", namespace, "get", "pods")["items"]
    return items


def container_status(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    found = pods(kubectl, namespace)
    statuses = found[0].get("status", {}).get("containerStatuses") if found else None
    return statuses[0] if statuses else {"restartCount": -1, "ready": False, "state": {}}


def available(kubectl: Kubectl, namespace: str) -> None:
    kubectl("-n", namespace, "wait", "--for=condition=Available", "deployment/tiny", "--timeout=180s")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_gateway_deployment_becomes_available_and_answers(
    kubectl: Kubectl, namespace: str, runner: RunnerThread
) -> None:
    kubectl.apply(*objects(namespace))
    available(kubectl, namespace)
    url = runner.wait_address(namespace, "tiny")
    told = httpx.get(f"{url}/", trust_env=False, timeout=30).json()
    assert told["config"] == "name: tiny"
    assert told["namespace"] == namespace
    env = told["env"]
    assert (env["VMCP_NAME"], env["VMCP_NAMESPACE"], env["VMCP_PASSWORD"]) == ("tiny", namespace, "swordfish")
    assert env["VMCP_ALLOW_LOOPBACK"] == "true"
    place, other = env["VMCP_PLACE"].split(":")
    assert place.endswith("/x")
    assert not place.startswith("/etc")
    assert other == "/etc/vmcp-config-other"
    [pod] = pods(kubectl, namespace)
    assert url == f"http://{pod['status']['podIP']}:4483" == f"http://{env['VMCP_IP']}:4483"
    log = runner.runner.log_of(namespace, pod["metadata"]["name"])
    assert "serving serve" in log.read_text()


def test_the_pods_token_has_the_rights_of_its_account_and_no_others(
    kubectl: Kubectl, namespace: str, runner: RunnerThread
) -> None:
    kubectl.apply(*objects(namespace))
    url = runner.wait_address(namespace, "tiny")

    def asked(what: str) -> int:
        path = f"{url}/kubernetes/api/v1/namespaces/{namespace}/{what}"
        return int(httpx.get(path, trust_env=False, timeout=30).json()["status"])

    assert asked("configmaps") == 200
    assert asked("secrets") == 403


def test_a_crash_is_reported_and_the_process_comes_back(kubectl: Kubectl, namespace: str, runner: RunnerThread) -> None:
    kubectl.apply(*objects(namespace))
    url = runner.wait_address(namespace, "tiny")
    first = httpx.get(f"{url}/", trust_env=False, timeout=30).json()["pid"]
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/crash", trust_env=False, timeout=30)
    eventually(lambda: container_status(kubectl, namespace)["restartCount"] == 1)
    eventually(lambda: bool(container_status(kubectl, namespace)["ready"]))
    status = container_status(kubectl, namespace)
    assert status["lastState"]["terminated"]["exitCode"] == 7
    available(kubectl, namespace)
    assert httpx.get(f"{runner.wait_address(namespace, 'tiny')}/", trust_env=False, timeout=30).json()["pid"] != first


def test_a_process_that_keeps_dying_is_in_crash_loop_back_off(
    kubectl: Kubectl, namespace: str, runner: RunnerThread
) -> None:
    broken = objects(namespace)
    broken[-1]["spec"]["template"]["spec"]["containers"][0]["args"] = ["serve", "--no-such-option"]
    kubectl.apply(*broken)

    def waiting() -> dict[str, Any]:
        found: dict[str, Any] = container_status(kubectl, namespace)["state"].get("waiting", {})
        return found

    eventually(lambda: waiting().get("reason") == "CrashLoopBackOff" and "exit code 2" in waiting().get("message", ""))
    assert runner.runner.address(namespace, "tiny") is None


def test_a_sick_process_is_restarted_by_its_liveness_probe(
    kubectl: Kubectl, namespace: str, runner: RunnerThread
) -> None:
    kubectl.apply(*objects(namespace))
    url = runner.wait_address(namespace, "tiny")
    httpx.get(f"{url}/hang", trust_env=False, timeout=30)
    eventually(lambda: container_status(kubectl, namespace)["restartCount"] >= 1)


def test_a_missing_secret_is_told_and_its_coming_is_noticed(
    kubectl: Kubectl, namespace: str, runner: RunnerThread
) -> None:
    without = [item for item in objects(namespace) if item["kind"] != "Secret"]
    kubectl.apply(*without)

    def waiting() -> dict[str, Any]:
        found: dict[str, Any] = container_status(kubectl, namespace)["state"].get("waiting", {})
        return found

    eventually(lambda: 'secret "tiny" not found' in waiting().get("message", ""))
    assert waiting()["reason"] == "CreateContainerConfigError"
    kubectl.apply(*objects(namespace))
    available(kubectl, namespace)


def test_deletion_ends_the_process_and_removes_the_pod(kubectl: Kubectl, namespace: str, runner: RunnerThread) -> None:
    kubectl.apply(*objects(namespace))
    url = runner.wait_address(namespace, "tiny")
    pid = httpx.get(f"{url}/", trust_env=False, timeout=30).json()["pid"]
    kubectl("-n", namespace, "delete", "deployment", "tiny")
    eventually(lambda: not pods(kubectl, namespace))
    eventually(lambda: not alive(pid))
    assert runner.runner.address(namespace, "tiny") is None


def test_pods_survive_an_api_server_that_is_away(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, runner: RunnerThread
) -> None:
    kubectl.apply(*objects(namespace))
    url = runner.wait_address(namespace, "tiny")
    pid = httpx.get(f"{url}/", trust_env=False, timeout=30).json()["pid"]
    control_plane.kill_apiserver()
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/crash", trust_env=False, timeout=30)
    control_plane.start_apiserver()
    eventually(lambda: container_status(kubectl, namespace)["restartCount"] == 1)
    assert not alive(pid)
    kubectl("-n", namespace, "delete", "deployment", "tiny")
    eventually(lambda: not pods(kubectl, namespace))


def test_other_pods_are_left_alone(kubectl: Kubectl, namespace: str, runner: RunnerThread) -> None:
    other = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "other", "namespace": namespace},
        "spec": {"containers": [{"name": "vmcp", "image": "any"}]},
    }
    kubectl.apply(other, *objects(namespace))
    runner.wait_address(namespace, "tiny")
    assert kubectl.json("-n", namespace, "get", "pod", "other")["status"]["phase"] == "Pending"


async def test_the_end_of_the_runner_ends_its_processes(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    urls: asyncio.Queue[str] = asyncio.Queue(maxsize=10)
    local = LocalRunner(
        control_plane.kubeconfig,
        tmp_path,
        command=(sys.executable, str(STAND_IN)),
        on_ready=lambda where, _, url: urls.put_nowait(url) if where == namespace else None,
    )
    await asyncio.to_thread(kubectl.apply, *objects(namespace))
    task = asyncio.create_task(local.run())
    async with asyncio.timeout(90), httpx.AsyncClient(trust_env=False, timeout=30) as http:
        pid = (await http.get(await urls.get())).json()["pid"]
        task.cancel()
        await asyncio.wait([task])
    assert not alive(pid)


def test_a_new_runner_takes_up_the_pods_of_the_last_one(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl.apply(*objects(namespace))
    for _ in range(2):
        local = LocalRunner(control_plane.kubeconfig, tmp_path, command=(sys.executable, str(STAND_IN)))
        with RunnerThread(local) as thread:
            thread.wait_address(namespace, "tiny")
    assert len(pods(kubectl, namespace)) == 1
