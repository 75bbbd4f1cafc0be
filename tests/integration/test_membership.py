"""Who the backends are follows the group at once, and what is wrong is said where the user looks."""

from typing import Any

from tests.integration.stage import GROUP, OperatorProcess, Stage, entry, eventually, gateway, group, mcp_backends


def _server(name: str, group_name: str = "tools") -> dict[str, Any]:
    return {
        "apiVersion": GROUP,
        "kind": "MCPServer",
        "metadata": {"name": name},
        "spec": {"image": "example/mcp:1", "transport": "streamable-http", "groupRef": {"name": group_name}},
    }


def test_members_come_and_go_with_the_group(stage: Stage, operator: OperatorProcess) -> None:
    with mcp_backends("alpha", "beta") as backends:
        stage.apply(group(), entry("alpha", backends["alpha"].url), gateway())
        eventually(lambda: stage.backend_names("front") == ["alpha"])
        stage.apply(entry("beta", backends["beta"].url))
        eventually(lambda: stage.backend_names("front") == ["alpha", "beta"])
        eventually(lambda: stage.status("front")["backendCount"] == 2)
        eventually(lambda: stage.get("mcpgroup", "tools")["status"]["entries"] == ["alpha", "beta"])
        stage.delete("mcpserverentry", "alpha")
        eventually(lambda: stage.backend_names("front") == ["beta"])
        stage.apply(group("others"), entry("beta", backends["beta"].url, "others"))
        eventually(lambda: stage.backend_names("front") == [])
        eventually(lambda: stage.get("mcpgroup", "others")["status"]["entries"] == ["beta"])
        eventually(lambda: stage.get("mcpgroup", "tools")["status"]["entryCount"] == 0)


def test_an_mcpserver_is_unknown_until_it_has_a_url_and_is_then_checked(
    stage: Stage, operator: OperatorProcess
) -> None:
    with mcp_backends("alpha") as backends:
        stage.apply(group(), _server("alpha"), gateway())
        eventually(lambda: stage.backend("front", "alpha")["status"] == "unknown")
        assert "no URL" in stage.backend("front", "alpha")["message"]
        status = {"status": {"url": backends["alpha"].url, "phase": "Ready"}}
        stage.kubectl(
            "-n", stage.namespace, "patch", "mcpserver", "alpha", "--subresource=status", "--type=merge",
            "-p", __import__("json").dumps(status),
        )  # fmt: skip
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        eventually(lambda: stage.get("mcpgroup", "tools")["status"]["servers"] == ["alpha"])


def test_a_missing_group_is_said_and_its_arrival_is_noticed(stage: Stage, operator: OperatorProcess) -> None:
    stage.apply(gateway())
    ready = eventually(lambda: stage.condition("front", "Ready"))
    assert (ready["status"], ready["reason"]) == ("False", "GroupRefNotFound")
    assert "tools" in ready["message"]
    assert "create it" in ready["message"]
    assert stage.status("front")["phase"] == "Failed"
    assert stage.condition("front", "Stalled")["status"] == "True"
    assert not stage.exists("deployment", "front")
    stage.apply(group())
    eventually(lambda: stage.exists("deployment", "front"))
    eventually(lambda: stage.condition("front", "GroupRefValidated")["status"] == "True")


def test_a_spec_that_must_fail_closed_stops_a_running_gateway_at_once(stage: Stage, operator: OperatorProcess) -> None:
    stage.apply(group(), gateway(), gateway("other"))
    eventually(lambda: stage.get("deployment", "front")["spec"]["replicas"] == 1)
    eventually(lambda: stage.exists("deployment", "other"))
    oidc = {"type": "oidc", "oidcConfigRef": {"name": "idp", "audience": "front"}}
    stage.patch("vmcp", "front", {"spec": {"incomingAuth": oidc}})
    eventually(lambda: stage.get("deployment", "front")["spec"]["replicas"] == 0)
    valid = eventually(lambda: (c := stage.condition("front", "Valid"))["status"] == "False" and c)
    assert "spec.incomingAuth.type" in valid["message"]
    assert stage.get("deployment", "other")["spec"]["replicas"] == 1
    stage.patch("vmcp", "front", {"spec": {"incomingAuth": {"type": "anonymous", "oidcConfigRef": None}}})
    eventually(lambda: stage.get("deployment", "front")["spec"]["replicas"] == 1)


def test_what_merely_adds_something_is_left_out_and_named(stage: Stage, operator: OperatorProcess) -> None:
    manifest = gateway()
    manifest["spec"]["config"]["optimizer"] = {"embeddingService": "http://embeddings"}
    stage.apply(group(), manifest)
    features = eventually(lambda: stage.condition("front", "FeaturesSupported"))
    assert features["status"] == "False"
    assert "spec.config.optimizer" in features["message"]
    eventually(lambda: stage.exists("deployment", "front"))


def test_a_backend_with_auth_that_we_cannot_do_is_never_called(stage: Stage, operator: OperatorProcess) -> None:
    with mcp_backends("alpha", "beta") as backends:
        secured = entry("alpha", backends["alpha"].url, externalAuthConfigRef={"name": "token"})
        stage.apply(group(), secured, entry("beta", backends["beta"].url), gateway())
        eventually(lambda: stage.backend("front", "beta")["status"] == "ready")
        alpha = stage.backend("front", "alpha")
        assert alpha["status"] == "unauthenticated"
        assert "token" in alpha["message"]


def test_a_deleted_or_changed_owned_object_comes_back(stage: Stage, operator: OperatorProcess) -> None:
    stage.apply(group(), gateway())
    eventually(lambda: stage.exists("deployment", "front"))
    for kind, name in (("deployment", "front"), ("service", "vmcp-front"), ("configmap", "front-vmcp-config")):
        uid = stage.get(kind, name)["metadata"]["uid"]
        stage.delete(kind, name)
        eventually(lambda kind=kind, name=name, uid=uid: stage.get(kind, name)["metadata"]["uid"] != uid)  # type: ignore[misc]
    stage.patch("configmap", "front-vmcp-config", {"data": {"config.yaml": "broken"}})
    eventually(lambda: "groupRef: tools" in stage.get("configmap", "front-vmcp-config")["data"]["config.yaml"])


def test_a_stranger_of_the_same_name_is_not_touched(stage: Stage, operator: OperatorProcess) -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "front-vmcp-config"},
        "data": {"mine": "yes"},
    }
    stage.apply(stranger, group(), gateway())
    ready = eventually(lambda: (c := stage.condition("front", "Ready"))["reason"] == "NameConflict" and c)
    assert "front-vmcp-config" in ready["message"]
    assert stage.get("configmap", "front-vmcp-config")["data"] == {"mine": "yes"}
    stage.delete("configmap", "front-vmcp-config")
    eventually(lambda: stage.exists("deployment", "front"))
