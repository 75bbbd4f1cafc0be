"""What an MCPServer becomes: the objects, the conditions, and what is seen of them, without a cluster."""

from typing import Any

import pytest
from tests.reconcile.objects import JsonObject, server

from vmcp.api.conditions import ConditionType
from vmcp.api.mcpserver import ServerPhase
from vmcp.kube.kinds import DEPLOYMENT, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET
from vmcp.reconcile.workloads.judged import Judged, judged
from vmcp.reconcile.workloads.observed import Observed, observed

IMAGE = "example.com/vmcp:1"


def judge(**spec: Any) -> Judged:
    return judged(server("search", **{"transport": "streamable-http", **spec}), proxy_image=IMAGE)


def objects(**spec: Any) -> dict[str, JsonObject]:
    """By kind."""
    return {owned.kind.name: owned.body for owned in judge(**spec).objects}


def pod(**spec: Any) -> JsonObject:
    found: JsonObject = objects(**spec)["StatefulSet"]["spec"]["template"]["spec"]
    return found


def container(**spec: Any) -> JsonObject:
    found: JsonObject = pod(**spec)["containers"][0]
    return found


def environment(**spec: Any) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(**spec)["env"]}


def test_a_server_with_a_port_is_a_stateful_set_and_a_service() -> None:
    made = judge(args=["--all"], resources={"limits": {"cpu": "1"}, "requests": {"memory": "64Mi"}})
    assert [owned.kind for owned in made.objects] == [STATEFUL_SET, SERVICE]
    assert [owned.name for owned in made.objects] == ["search", "mcp-search-proxy"]
    found = made.objects[0].body["spec"]["template"]["spec"]["containers"][0]
    assert (found["name"], found["image"], found["args"]) == ("mcp", "example.com/server:1", ["--all"])
    assert found["resources"] == {"limits": {"cpu": "1"}, "requests": {"memory": "64Mi"}}


def test_its_pods_carry_its_name_and_labels_of_ours() -> None:
    labels = objects()["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert labels["app"] == "search"
    assert labels["app.kubernetes.io/name"] == "mcpserver"
    assert objects()["StatefulSet"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert objects()["Service"]["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize(("spec", "port"), [({}, 8080), ({"mcpPort": 9000}, 9000), ({"proxyPort": 80}, 8080)])
def test_it_is_reached_at_proxy_port_and_listens_at_mcp_port(spec: JsonObject, port: int) -> None:
    service = objects(**spec)["Service"]["spec"]["ports"][0]
    assert (service["port"], service["targetPort"]) == (spec.get("proxyPort", 8080), port)
    assert container(**spec)["readinessProbe"]["tcpSocket"]["port"] == port
    told = environment(**spec)
    assert told == {
        "MCP_TRANSPORT": "streamable-http",
        "MCP_PORT": str(port),
        "FASTMCP_PORT": str(port),
        "MCP_HOST": "0.0.0.0",
    }


def test_its_variables_come_from_the_spec_and_secrets_and_where_it_listens_is_ours_to_say() -> None:
    found = environment(
        env=[
            {"name": "LEVEL", "value": "debug"},
            {"name": "TOKEN", "value": "plain"},
            {"name": "MCP_PORT", "value": "1"},
        ],
        secrets=[{"name": "a", "key": "TOKEN"}, {"name": "b", "key": "k", "targetEnvName": "KEY"}],
    )
    assert found["LEVEL"] == "debug"
    assert found["TOKEN"] == {"secretKeyRef": {"name": "a", "key": "TOKEN"}}
    assert found["KEY"] == {"secretKeyRef": {"name": "b", "key": "k"}}
    assert found["MCP_PORT"] == "8080"


def test_folders_of_the_node_pull_secrets_and_an_account() -> None:
    found = pod(
        volumes=[{"name": "data", "hostPath": "/srv", "mountPath": "/data", "readOnly": True}],
        serviceAccount="robot",
        resourceOverrides={"proxyDeployment": {"imagePullSecrets": [{"name": "pull"}, {"name": "pull"}]}},
    )
    assert found["volumes"] == [{"name": "data", "hostPath": {"path": "/srv"}}]
    assert found["containers"][0]["volumeMounts"] == [{"name": "data", "mountPath": "/data", "readOnly": True}]
    assert found["imagePullSecrets"] == [{"name": "pull"}]
    assert found["serviceAccountName"] == "robot"
    assert "automountServiceAccountToken" not in found


def test_without_an_account_of_its_own_it_gets_no_token() -> None:
    assert pod()["automountServiceAccountToken"] is False


def test_a_pod_template_is_merged_in_by_the_name_of_the_container() -> None:
    changes = {"spec": {"containers": [{"name": "mcp", "securityContext": {"runAsUser": 0}}, {"name": "side"}]}}
    found = {item["name"]: item for item in pod(podTemplateSpec=changes)["containers"]}
    assert found["mcp"]["image"] == "example.com/server:1"
    assert found["mcp"]["securityContext"]["runAsUser"] == 0
    assert "side" in found


def test_a_stdio_server_keeps_its_input_open_for_one_and_a_proxy_stands_in_front() -> None:
    made = judge(transport="stdio", proxyPort=9000)
    kinds = [owned.kind for owned in made.objects]
    assert kinds == [STATEFUL_SET, SERVICE, SERVICE_ACCOUNT, ROLE, ROLE_BINDING, DEPLOYMENT]
    found = container(transport="stdio")
    assert (found["stdin"], found["stdinOnce"]) == (True, True)
    assert "ports" not in found
    assert "readinessProbe" not in found
    assert environment(transport="stdio") == {"MCP_TRANSPORT": "stdio"}
    proxy = made.objects[5].body["spec"]
    assert (proxy["replicas"], proxy["strategy"]) == (1, {"type": "Recreate"})
    attached = proxy["template"]["spec"]["containers"][0]
    assert attached["image"] == IMAGE
    assert attached["args"] == [
        "stdio", "--namespace=prod", "--pod=search-0", "--container=mcp", "--host=0.0.0.0", "--port=9000",
    ]  # fmt: skip
    service = made.objects[1].body["spec"]
    assert service["ports"][0]["targetPort"] == 9000
    assert service["selector"].items() <= proxy["template"]["metadata"]["labels"].items()
    assert not service["selector"].items() <= objects()["StatefulSet"]["spec"]["template"]["metadata"]["labels"].items()


def test_overrides_reach_the_proxy_and_the_service_and_break_no_selector() -> None:
    ours = {"app.kubernetes.io/name": "taken", "team": "search"}
    metadata = {"labels": ours, "annotations": {"mesh": "on"}}
    overrides = {
        "proxyDeployment": {**metadata, "env": [{"name": "A", "value": "b"}], "podTemplateMetadataOverrides": metadata},
        "proxyService": metadata,
    }
    made = objects(transport="stdio", resourceOverrides=overrides)
    heads = [made["Deployment"]["metadata"], made["Deployment"]["spec"]["template"]["metadata"]]
    for head in (*heads, made["Service"]["metadata"]):
        assert head["labels"]["team"] == "search"
        assert head["labels"]["app.kubernetes.io/name"].startswith("mcpserver")
        assert head["annotations"] == {"mesh": "on"}
    assert made["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "b"}]


@pytest.mark.parametrize(
    ("spec", "server_pods", "proxies"),
    [
        ({}, None, None),
        ({"backendReplicas": 3}, 3, None),
        ({"backendReplicas": 0}, 0, None),
        ({"replicas": 0}, 0, None),
        ({"replicas": 2}, None, None),
        ({"transport": "stdio"}, 1, 1),
        ({"transport": "stdio", "backendReplicas": 3, "replicas": 3}, 1, 1),
        ({"transport": "stdio", "backendReplicas": 0}, 0, 0),
        ({"transport": "stdio", "replicas": 0}, 0, 0),
    ],
)
def test_how_many_there_are(spec: JsonObject, server_pods: int | None, proxies: int | None) -> None:
    made = objects(**spec)
    assert made["StatefulSet"]["spec"].get("replicas") == server_pods
    assert made.get("Deployment", {}).get("spec", {}).get("replicas") == proxies


def test_what_protects_ends_the_server_and_what_is_invalid_leaves_it_running() -> None:
    closed = judge(oidcConfigRef={"name": "corp", "audience": "x"})
    assert closed.closed
    assert "spec.oidcConfigRef" in closed.blocked
    twice = [{"name": name, "hostPath": "/srv", "mountPath": "/data"} for name in ("a", "b")]
    for spec in ({"mcpPort": 0}, {"image": None}, {"volumes": twice}):
        invalid = judge(**spec)
        assert not invalid.closed
        assert invalid.blocked.startswith("spec.")
        assert invalid.objects == ()


def test_a_pod_template_that_cannot_be_merged_is_named() -> None:
    made = judge(podTemplateSpec={"spec": {"containers": [{"name": "mcp", "$patch": "delete"}]}})
    assert made.objects == ()
    assert "container mcp must stay" in made.blocked
    false = {finding.type for finding in made.conditions if not finding.status}
    assert {ConditionType.VALID, ConditionType.POD_TEMPLATE_SPEC_VALID} <= false


def stateful_set(*, ready: int = 0, replicas: int = 1, updated: int | None = None, seen: int = 1) -> JsonObject:
    status = {
        "observedGeneration": seen,
        "replicas": replicas,
        "updatedReplicas": replicas if updated is None else updated,
        "readyReplicas": ready,
    }
    return {"metadata": {"name": "search", "generation": 1}, "spec": {"replicas": replicas}, "status": status}


def a_pod(state: JsonObject | None = None, name: str = "search-0", **container: Any) -> JsonObject:
    told = {"name": "mcp", "state": state or {}, **container}
    return {"metadata": {"name": name}, "status": {"containerStatuses": [told]}}


def see(stateful: JsonObject, *pods: JsonObject, refusal: str = "") -> Observed:
    return observed(stateful, pods, None, (), refusal)


def test_one_ready_pod_makes_it_ready() -> None:
    assert see(stateful_set(ready=1, replicas=3), a_pod()).phase is ServerPhase.READY
    assert see(stateful_set(ready=0), a_pod()).phase is ServerPhase.PENDING


@pytest.mark.parametrize("changing", [stateful_set(ready=1, seen=0), stateful_set(ready=2, replicas=3, updated=1)])
def test_a_change_that_is_not_rolled_out_is_not_ready(changing: JsonObject) -> None:
    assert see(changing, a_pod()).phase is ServerPhase.PENDING


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"]
)
def test_what_the_kubelet_says_is_passed_on(reason: str) -> None:
    found = see(stateful_set(), a_pod({"waiting": {"reason": reason, "message": "the cause"}}))
    assert (found.phase, found.reason) == (ServerPhase.FAILED, reason)
    assert found.message == f"pod search-0, container mcp: {reason}: the cause"


def test_a_container_that_crashes_again_and_again_fails_also_while_it_runs() -> None:
    crashed = {"terminated": {"exitCode": 1, "reason": "Error"}}
    running = a_pod({"running": {}}, lastState=crashed, restartCount=3, ready=False)
    assert see(stateful_set(), running).reason == "CrashLoopBackOff"
    once = a_pod({"running": {}}, lastState=crashed, restartCount=1, ready=False)
    assert see(stateful_set(), once).phase is ServerPhase.PENDING


def test_a_pod_on_its_way_out_says_nothing_of_the_server() -> None:
    leaving = a_pod({"waiting": {"reason": "ErrImagePull"}})
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert see(stateful_set(), leaving).phase is ServerPhase.PENDING


def test_pods_that_are_refused_or_find_no_node() -> None:
    refused = see(stateful_set(replicas=1), refusal="violates PodSecurity")
    assert (refused.phase, refused.reason) == (ServerPhase.FAILED, "FailedCreate")
    lost = a_pod()
    lost["status"]["conditions"] = [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes"}]
    waiting = see(stateful_set(), lost)
    assert (waiting.phase, waiting.reason) == (ServerPhase.PENDING, "Unschedulable")
    assert "0/3 nodes" in waiting.message


def test_scaled_to_zero_is_stopped() -> None:
    assert see(stateful_set(replicas=0)).phase is ServerPhase.STOPPED


def proxy(*, available: int) -> JsonObject:
    condition = {"type": "Available", "status": "True" if available else "False"}
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}
    body = {"metadata": {"name": "search-proxy", "generation": 1}, "spec": {"replicas": 1}}
    return body | {"status": status | {"conditions": [condition]}}


def test_a_stdio_server_is_as_ready_as_its_proxy() -> None:
    running = stateful_set(ready=1)
    assert observed(running, [], proxy(available=1), []).phase is ServerPhase.READY
    assert observed(running, [], proxy(available=0), []).reason == "ProxyNotReady"
    broken = a_pod({"waiting": {"reason": "ErrImagePull"}}, name="search-proxy-x")
    assert observed(running, [], proxy(available=0), [broken]).phase is ServerPhase.FAILED
