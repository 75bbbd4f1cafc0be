"""The chart's admission policies, on a real API server: what they refuse the operator would refuse too."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.deploy.renderings import ADMISSION, of_kind
from tests.integration.stage import GROUP, entry, eventually, gateway

from vmcp.api.validation import validate
from vmcp.reconcile import names
from vmcp.reconcile.workloads import names as server_names
from vmcp_dev.deployfiles import rendered
from vmcp_dev.kubectl import Kubectl, KubectlError

ALL_BUT_PODS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "no-pods"},
    "rules": [{"apiGroups": ["toolhive.stacklok.dev"], "resources": ["*"], "verbs": ["*"]}],
}
PODS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "pods"},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}],
}


class Gate:
    """One namespace in which the policies hold."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace

    def apply(self, obj: dict[str, Any], *, user: str = "", dry: bool = True) -> str:
        """Empty, or why it is refused."""
        options = [f"--as={user}"] if user else []
        options += ["--dry-run=server"] if dry else []
        try:
            self.kubectl("-n", self.namespace, "apply", "--server-side", "-f", "-", *options, stdin=json.dumps(obj))
        except KubectlError as error:
            return error.stderr
        return ""

    def let(self, user: str, role: dict[str, Any]) -> None:
        self.apply(role, dry=False)
        name = role["metadata"]["name"]
        self.kubectl(
            "-n", self.namespace, "create", "rolebinding", f"{name}-{user}", f"--role={name}", f"--user={user}"
        )


@pytest.fixture(scope="module")
def gate(control_plane: Any, kubectl: Kubectl) -> Iterator[Gate]:
    namespace = f"gate-{uuid.uuid4().hex[:8]}"
    policies = of_kind(rendered(f"namespaces={{{namespace}}}", name=namespace), *ADMISSION)
    kubectl("create", "namespace", namespace)
    try:
        kubectl.apply(*policies)
        found = Gate(kubectl, namespace)
        # Policies hold a moment after they are stored.
        for each in (virtual("x" * 60), server("x" * 60)):
            eventually(lambda each=each: found.apply(each))  # type: ignore[misc]
        yield found
    finally:
        for policy in policies:
            kubectl("delete", policy["kind"], policy["metadata"]["name"], "--ignore-not-found")
        kubectl("delete", "namespace", namespace, "--wait=false")


def virtual(name: str = "front", **spec: Any) -> dict[str, Any]:
    made = gateway()
    return {**made, "metadata": {"name": name}, "spec": {**made["spec"], **spec}}


def inline(*urls: str) -> dict[str, Any]:
    backends = [{"name": f"b{number}", "url": url, "transport": "streamable-http"} for number, url in enumerate(urls)]
    return virtual(config={"backends": backends})


def server(name: str = "search", **spec: Any) -> dict[str, Any]:
    whole = {"image": "example.com/mcp:1", "transport": "streamable-http", "groupRef": {"name": "tools"}, **spec}
    return {"apiVersion": GROUP, "kind": "MCPServer", "metadata": {"name": name}, "spec": whole}


def test_good_objects_pass(gate: Gate) -> None:
    good = [
        virtual("x" * names.LONGEST_NAME),
        server("x" * server_names.LONGEST_NAME),
        inline("http://a:8080/mcp", "https://b/mcp?x=a@b", "http://[::1]:80/mcp"),
        virtual(passthroughHeaders=["X-Request-Id"], config={"passthroughHeaders": ["X-Tenant"]}),
        virtual(podTemplateSpec={"spec": {"priorityClassName": "high"}}, serviceAccount="other"),
    ]
    assert [gate.apply(each) for each in good] == [""] * len(good)


@pytest.mark.parametrize("name", ["x" * (names.LONGEST_NAME + 1), "with.dot"])
def test_a_name_that_leaves_no_room_for_the_service_is_refused(gate: Gate, name: str) -> None:
    assert "metadata.name" in gate.apply(virtual(name))


@pytest.mark.parametrize("name", ["x" * (server_names.LONGEST_NAME + 1), "with.dot"])
def test_a_name_that_leaves_no_room_for_the_pods_is_refused(gate: Gate, name: str) -> None:
    assert "metadata.name" in gate.apply(server(name))


@pytest.mark.parametrize("url", ["http:///mcp", "http://user:secret@host/mcp"])
def test_an_inline_backend_that_cannot_be_is_refused_by_admission_and_operator(gate: Gate, url: str) -> None:
    obj = inline("http://good/mcp", url)
    assert ": url: must" in gate.apply(obj)
    assert validate(obj["spec"])


@pytest.mark.parametrize("kind", ["MCPServerEntry", "MCPRemoteProxy"])
def test_no_password_of_a_remote_server_is_stored(gate: Gate, kind: str) -> None:
    spec = {"groupRef": {"name": "tools"}, "transport": "streamable-http"}
    obj = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": "remote"}}
    assert gate.apply({**obj, "spec": {**spec, "remoteUrl": "https://host/mcp"}}) == ""
    refused = gate.apply({**obj, "spec": {**spec, "remoteUrl": "https://user:secret@host/mcp"}})
    assert "must not contain a user or a password" in refused


@pytest.mark.parametrize("header", ["Authorization", "cookie", "Mcp-Session-Id", "X-Forwarded-For", "host"])
def test_a_header_that_is_not_for_backends_is_refused_by_admission_and_operator(gate: Gate, header: str) -> None:
    for obj in (virtual(passthroughHeaders=[header]), virtual(config={"passthroughHeaders": ["X-Ok", header]})):
        assert "passthroughHeaders" in gate.apply(obj)
        assert validate(obj["spec"])


def shaping_a_pod() -> list[dict[str, Any]]:
    secret = {"name": "password", "key": "password"}
    header = {"headerName": "Authorization", "valueSecretRef": secret}
    redis = {"provider": "redis", "address": "redis:6379", "passwordRef": secret}
    return [
        server(),
        virtual(podTemplateSpec={"spec": {}}),
        virtual(serviceAccount="admin"),
        virtual(sessionStorage=redis),
        entry("remote", "https://host/mcp", headerForward={"addHeadersFromSecret": [header]}),
    ]


def test_nobody_gets_a_pod_or_a_secret_whom_kubernetes_would_refuse_one(gate: Gate) -> None:
    gate.let("dev", ALL_BUT_PODS)
    for shaped in shaping_a_pod():
        assert "dev may not create Pods in" in gate.apply(shaped, user="dev"), shaped
    for plain in (virtual(), entry("remote", "https://host/mcp")):
        assert gate.apply(plain, user="dev") == ""

    gate.let("dev", PODS)
    eventually(lambda: [gate.apply(shaped, user="dev") for shaped in shaping_a_pod()] == [""] * 5)


def test_an_object_whose_spec_stays_may_be_labelled_by_anyone_who_may_write_it(gate: Gate) -> None:
    gate.let("labeller", ALL_BUT_PODS)
    assert gate.apply(server("kept"), dry=False) == ""
    labels = ["label", "mcpserver", "kept", "team=a", "--as=labeller"]
    assert "labeled" in gate.kubectl("-n", gate.namespace, *labels)


def test_other_namespaces_are_not_touched(gate: Gate, kubectl: Kubectl, namespace: str) -> None:
    assert Gate(kubectl, namespace).apply(virtual("with.dot")) == ""
