"""The gateway in Kubernetes, against a real API server: its ConfigMap and its status are applied live, with the
rights that its Role gives and no more.
"""

import asyncio
import base64
import itertools
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import PATIENCE_S, Running, backend, config, entry, gateway, until

from vmcp.gateway.kubewatch import FIRST_RETRY_S, ObjectWatch, ServiceAccount
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.kubectl import Kubectl

NAME = "front"
OPEN_S = 600


class Home:
    """A VirtualMCPServer with its ConfigMap and ServiceAccount, as the operator leaves them."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace

    def create(self, content: dict[str, Any], *, verbs: Sequence[str] = ("get", "list", "watch")) -> None:
        account = f"{NAME}-vmcp"
        rules = [
            rule("toolhive.stacklok.dev", "virtualmcpservers", NAME, verbs),
            rule("", "configmaps", f"{NAME}-vmcp-config", verbs),
        ]
        subject = {"kind": "ServiceAccount", "name": account, "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
        rbac = "rbac.authorization.k8s.io/v1"
        spec = {"groupRef": {"name": "group"}, "incomingAuth": {"type": "anonymous"}}
        self.kubectl.apply(
            self._object("v1", "ServiceAccount", account),
            self._object(rbac, "Role", account, rules=rules),
            self._object(rbac, "RoleBinding", account, subjects=[subject], roleRef=role),
            self._object("toolhive.stacklok.dev/v1beta1", "VirtualMCPServer", NAME, spec=spec),
        )
        self.configure(content)

    def configure(self, content: dict[str, Any]) -> None:
        data = {"config.yaml": yaml.safe_dump(content)}
        self.kubectl.apply(self._object("v1", "ConfigMap", f"{NAME}-vmcp-config", data=data))

    def report(self, *backends: dict[str, Any], at: datetime | None = None) -> None:
        """Write the status, as the operator does."""
        time = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
        patch = {"status": {"lastReportTime": time, "discoveredBackends": list(backends)}}
        arguments = ("patch", "virtualmcpserver", NAME, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
        self.kubectl("-n", self.namespace, *arguments)

    def mount(self, folder: Path, server: str) -> dict[str, str]:
        """The ServiceAccount's files, and the environment of the Pod."""
        account = folder / "account"
        account.mkdir()
        (account / "token").write_text(self.kubectl("-n", self.namespace, "create", "token", f"{NAME}-vmcp"))
        raw = self.kubectl("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster}")
        cluster = json.loads(raw)
        authority = cluster.get("certificate-authority-data")
        text = base64.b64decode(authority) if authority else Path(cluster["certificate-authority"]).read_bytes()
        (account / "ca.crt").write_bytes(text)
        address = urlsplit(server)
        return {
            "VMCP_NAME": NAME,
            "VMCP_NAMESPACE": self.namespace,
            "VMCP_SERVICEACCOUNT_DIR": str(account),
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            "VMCP_ALLOW_LOOPBACK": "true",
        }

    def _object(self, version: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def rule(group: str, resource: str, name: str, verbs: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": list(verbs)}


def known(name: str, fingerprint: str, status: str = "ready", **more: Any) -> dict[str, Any]:
    return {"name": name, "targetFingerprint": fingerprint, "status": status, "circuitBreakerState": "closed", **more}


def out(name: str, fingerprint: str) -> dict[str, Any]:
    later = (datetime.now(UTC) + timedelta(seconds=OPEN_S)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return known(name, fingerprint, "unavailable") | {"circuitBreakerState": "open", "circuitOpenUntil": later}


@pytest.fixture
def home(kubectl: Kubectl, crds: None, namespace: str) -> Home:
    return Home(kubectl, namespace)


@pytest.fixture
def in_pod(
    home: Home, control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Call it when the ServiceAccount exists: from then on a gateway finds itself in a Pod."""

    def enter() -> None:
        for name, value in home.mount(tmp_path, control_plane.server).items():
            monkeypatch.setenv(name, value)

    return enter


async def test_config_map_and_status_are_applied_live(home: Home, in_pod: Callable[[], None], tmp_path: Path) -> None:
    with backend("a") as a, backend("b") as b:
        first = config(entry("a", a.url, fingerprint="fa"))
        home.create(first)
        in_pod()
        async with gateway(tmp_path, first) as running:
            assert (await running.get("/readyz")).json() == {"status": "ready", "mode": "dynamic"}
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))

            home.configure(config(entry("a", a.url, fingerprint="fa"), entry("b", b.url, fingerprint="fb")))
            await until(lambda: lists(client, "a", "b"))

            home.report(known("a", "fa"), out("b", "fb"))
            await until(lambda: lists(client, "a"))
            error = (await client.ask("tools/call", {"name": "b_whoami", "arguments": {}})).json()["error"]
            assert error["code"] == -32003
            assert error["data"]["circuit"] == "open"
            assert OPEN_S - PATIENCE_S - 1 <= error["data"]["retryAfterSeconds"] <= OPEN_S

            home.report(known("a", "fa"), known("b", "fb", "degraded"))
            await until(lambda: lists(client, "a", "b"))
            assert await healths(running) == {"a": "healthy", "b": "degraded"}

            # What is said of another target says nothing of this one.
            home.report(known("a", "fa"), out("b", "of an older URL"))
            await until(lambda: healths_are(running, a="healthy", b="unknown"))
            assert await lists(client, "a", "b")

            home.configure(first | {"incomingAuth": {"type": "oidc"}})
            await until(lambda: not_ready(running, "incomingAuth"))
            home.configure(first)
            await until(lambda: lists(client, "a"))


async def test_a_gateway_without_reports_decides_by_itself_until_they_return(
    home: Home, in_pod: Callable[[], None], tmp_path: Path
) -> None:
    with backend("a") as a, backend("b") as b:
        content = config(entry("a", a.url, fingerprint="fa"), entry("b", b.url, fingerprint="fb"))
        home.create(content)
        in_pod()
        home.report(known("a", "fa"), known("b", "fb"))
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a", "b"))
            a.stop()
            # Two heartbeats are ten minutes by default.
            home.report(known("a", "fa"), known("b", "fb"), at=datetime.now(UTC) - timedelta(minutes=11))
            await until(lambda: lists(client, "b"))
            home.report(known("a", "fa"), known("b", "fb"))
            await until(lambda: healths_are(running, a="healthy", b="healthy"))


async def test_the_watch_outlives_the_api_server(
    home: Home, in_pod: Callable[[], None], control_plane: ControlPlane, tmp_path: Path
) -> None:
    with backend("a") as a:
        content = config(entry("a", a.url, fingerprint="fa"))
        home.create(content)
        in_pod()
        home.report(known("a", "fa"))
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            restart = asyncio.create_task(asyncio.to_thread(restart_api_server, control_plane))
            # Meanwhile it serves by what it knows.
            answer = await client.ask("tools/call", {"name": "a_whoami", "arguments": {}})
            await restart
            assert '"a"' in answer.text
            home.report(out("a", "fa"))
            await until(lambda: lists(client))


async def test_ready_after_a_moment_although_the_api_server_refuses(
    home: Home, in_pod: Callable[[], None], tmp_path: Path
) -> None:
    with backend("a") as a:
        content = config(entry("a", a.url, fingerprint="fa"))
        home.create(content)
        in_pod()
        (tmp_path / "account" / "token").write_text("of nobody")
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            assert await healths(running) == {"a": "unknown"}


async def test_a_watch_that_is_refused_is_asked_for_less_and_less_often_and_complained_of_once(
    home: Home, in_pod: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may list but not watch must not list without pause: nor may all gateways of a busy API server."""
    home.create(config(), verbs=("get", "list"))
    in_pod()
    account = ServiceAccount.of_this_pod()
    assert account is not None
    transport = HttpTransport(guard=AddressGuard(allow_loopback=True))
    path = f"/api/v1/namespaces/{home.namespace}/configmaps"
    lists: list[float] = []
    watch = ObjectWatch(
        transport=transport,
        account=account,
        path=path,
        name=f"{NAME}-vmcp-config",
        seen=lambda content: lists.append(time.monotonic()),
    )
    task = asyncio.create_task(watch.run())
    try:
        await until(lambda: len(lists) >= 5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await transport.close()
    gaps = [later - earlier for earlier, later in itertools.pairwise(lists)]
    assert all(gap >= FIRST_RETRY_S * 2**number / 2 for number, gap in enumerate(gaps))
    complaints = [record.message for record in caplog.records if "watch of" in record.message]
    assert complaints == [f"watch of configmaps {NAME}-vmcp-config: watch answered with HTTP 403"]


def restart_api_server(control_plane: ControlPlane) -> None:
    control_plane.stop_apiserver()
    control_plane.start_apiserver()


async def lists(client: LegacySpeaker, *expected: str) -> bool:
    answer = await client.ask("tools/list")
    if answer.status_code != 200:
        return False
    tools = answer.json()["result"]["tools"]
    return {tool["name"].partition("_")[0] for tool in tools} == set(expected)


async def healths(running: Running) -> dict[str, str]:
    return {each["name"]: each["health"] for each in (await running.get("/status")).json()["backends"]}


async def healths_are(running: Running, **expected: str) -> bool:
    return await healths(running) == expected


async def not_ready(running: Running, reason: str) -> bool:
    answer: httpx.Response = await running.get("/readyz")
    return answer.status_code == 503 and reason in answer.json()["reason"]
