"""The owned objects: the names, labels, ports and arguments that existing manifests and clients rely on."""

import copy
from typing import Any

import pytest
import yaml
from tests.api import samples
from tests.reconcile.objects import IMAGE, JsonObject, entry, gate, inline, judged, server

from vmcp.api.gatewayconfig import load_gateway_config
from vmcp.reconcile.desired import Wanted, desired

COMMON = {
    "app": "virtualmcpserver",
    "app.kubernetes.io/name": "virtualmcpserver",
    "app.kubernetes.io/instance": "gate",
    "toolhive": "true",
    "toolhive-name": "gate",
}
CHECKSUM = "toolhive.stacklok.dev/runconfig-checksum"
CA = {"configMapRef": {"name": "corp-ca", "key": "ca.crt"}}
AUTHORITIES = {("corp-ca", "ca.crt"): "PEM"}


def wanted(owner: JsonObject | None = None, **around: Any) -> Wanted:
    found = judged(owner, **around).wanted
    assert found is not None
    return found


def made(owner: JsonObject | None = None, **around: Any) -> dict[str, JsonObject]:
    """The owned objects by kind."""
    return {owned.kind.name: owned.body for owned in desired(wanted(owner, **around))}


def template(owner: JsonObject | None = None, **around: Any) -> JsonObject:
    found: JsonObject = made(owner, **around)["Deployment"]["spec"]["template"]
    return found


def pod(owner: JsonObject | None = None, **around: Any) -> JsonObject:
    found: JsonObject = template(owner, **around)["spec"]
    return found


def container(owner: JsonObject | None = None, **around: Any) -> JsonObject:
    (found,) = pod(owner, **around)["containers"]
    assert isinstance(found, dict)
    return found


def test_the_objects_have_the_names_that_clients_know() -> None:
    names = {(owned.kind.name, owned.name) for owned in desired(wanted())}
    assert names == {
        ("ServiceAccount", "gate-vmcp"),
        ("Role", "gate-vmcp"),
        ("RoleBinding", "gate-vmcp"),
        ("Lease", "gate-vmcp"),
        ("ConfigMap", "gate-vmcp-config"),
        ("Service", "vmcp-gate"),
        ("Deployment", "gate"),
    }


def test_what_a_pod_needs_is_made_before_the_deployment() -> None:
    kinds = [owned.kind.name for owned in desired(wanted())]
    assert kinds[-1] == "Deployment"
    assert kinds.index("ServiceAccount") < kinds.index("RoleBinding")


def test_every_object_carries_the_common_labels_and_is_controlled_by_its_owner() -> None:
    for body in made().values():
        metadata = body["metadata"]
        assert COMMON.items() <= metadata["labels"].items()
        assert metadata["namespace"] == "prod"
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "toolhive.stacklok.dev/v1beta1",
                "kind": "VirtualMCPServer",
                "name": "gate",
                "uid": "uid-of-gate",
                "controller": True,
            }
        ]


def test_a_pod_carries_the_labels_by_which_it_is_found_and_selected() -> None:
    objects = made()
    selector = {"app.kubernetes.io/name": "virtualmcpserver", "app.kubernetes.io/instance": "gate"}
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == selector
    assert objects["Service"]["spec"]["selector"] == selector
    assert template()["metadata"]["labels"] == COMMON


def test_the_gateway_is_started_as_the_reference_says() -> None:
    found = container()
    assert found["name"] == "vmcp"
    assert found["image"] == IMAGE
    assert found["args"] == ["serve", "--config=/etc/vmcp-config/config.yaml", "--host=0.0.0.0", "--port=4483"]
    assert found["ports"] == [{"name": "http", "containerPort": 4483, "protocol": "TCP"}]
    assert found["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }
    assert pod()["terminationGracePeriodSeconds"] == 30


def test_log_level_debug_is_an_argument() -> None:
    assert container(gate(config={"operational": {"logLevel": "debug"}}))["args"][-1] == "--debug"


def test_the_gateway_knows_its_name_and_gets_its_session_key_by_reference() -> None:
    env = {entry["name"]: entry for entry in container()["env"]}
    assert env["VMCP_NAME"]["value"] == "gate"
    assert env["VMCP_NAMESPACE"]["value"] == "prod"
    reference = env["VMCP_SESSION_HMAC_SECRET"]["valueFrom"]["secretKeyRef"]
    assert (reference["name"], reference["key"]) == ("gate-hmac-secret", "hmac-secret")


def test_the_password_of_redis_is_the_pods_to_read() -> None:
    storage = {**samples.REDIS, "passwordRef": {"name": "redis-secret", "key": "password"}}
    env = {entry["name"]: entry for entry in container(gate(sessionStorage=storage))["env"]}
    reference = env["THV_SESSION_REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "redis-secret", "key": "password"}
    without = container(gate(sessionStorage=samples.REDIS))["env"]
    assert "THV_SESSION_REDIS_PASSWORD" not in {entry["name"] for entry in without}


def test_the_gateway_is_asked_for_its_life_and_its_readiness() -> None:
    found = container()
    assert found["livenessProbe"] == {
        "httpGet": {"path": "/health", "port": "http"},
        "initialDelaySeconds": 30,
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }
    ready = found["readinessProbe"]
    assert ready["httpGet"] == {"path": "/readyz", "port": "http"}
    assert (ready["periodSeconds"], ready["timeoutSeconds"], ready["failureThreshold"]) == (5, 3, 3)


def test_the_pod_meets_the_restricted_pod_security_standard() -> None:
    security = pod(entries=(entry(caBundleRef=CA),), authorities=AUTHORITIES)
    assert security["securityContext"]["runAsNonRoot"] is True
    assert security["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & security.keys()
    assert all("configMap" in volume for volume in security["volumes"])
    for found in security["containers"]:
        assert found["securityContext"]["allowPrivilegeEscalation"] is False
        assert found["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert found["securityContext"]["readOnlyRootFilesystem"] is True
        assert not any("hostPort" in port for port in found["ports"])


def test_the_service_offers_the_port() -> None:
    service = made()["Service"]["spec"]
    assert (service["type"], service["sessionAffinity"]) == ("ClusterIP", "ClientIP")
    assert service["ports"] == [{"name": "http", "port": 4483, "targetPort": "http", "protocol": "TCP"}]


def test_the_service_is_of_the_type_and_affinity_that_the_spec_says() -> None:
    service = made(gate(serviceType="NodePort", sessionAffinity="None"))["Service"]["spec"]
    assert (service["type"], service["sessionAffinity"]) == ("NodePort", "None")


def test_the_gateway_may_read_itself_patch_its_own_lease_and_nothing_else() -> None:
    for rule in made()["Role"]["rules"]:
        if rule["resources"] == ["leases"]:
            assert (rule["verbs"], rule["resourceNames"]) == (["patch"], ["gate-vmcp"])
            continue
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert rule["resourceNames"] in (["gate"], ["gate-vmcp-config"])
        assert "secrets" not in rule["resources"]
        assert not any("/" in resource for resource in rule["resources"])


def test_a_service_account_of_the_users_gets_the_role_and_none_is_made() -> None:
    objects = made(gate(serviceAccount="mine"))
    assert "ServiceAccount" not in objects
    assert objects["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    assert objects["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": "mine", "namespace": "prod"}]
    assert objects["RoleBinding"]["roleRef"]["name"] == objects["Role"]["metadata"]["name"]


def test_without_one_the_gateway_runs_as_its_own_account() -> None:
    objects = made()
    assert objects["ServiceAccount"]["metadata"]["name"] == "gate-vmcp"
    assert objects["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "gate-vmcp"
    assert objects["RoleBinding"]["subjects"][0]["name"] == "gate-vmcp"


def test_image_pull_secrets_are_passed_on() -> None:
    assert pod(gate(imagePullSecrets=[{"name": "regcred"}]))["imagePullSecrets"] == [{"name": "regcred"}]


def test_a_pod_template_patches_the_container_by_its_name_and_adds_to_the_pod() -> None:
    patch = {
        "metadata": {"labels": {"team": "a", "app": "mine"}},
        "spec": {
            "nodeSelector": {"disk": "fast"},
            "containers": [
                {"name": "vmcp", "resources": {"requests": {"cpu": "10m"}}},
                {"name": "mesh", "image": "mesh:1"},
            ],
        },
    }
    found = template(gate(podTemplateSpec=patch))
    assert found["metadata"]["labels"] == COMMON | {"team": "a"}
    assert found["spec"]["nodeSelector"] == {"disk": "fast"}
    gateway, mesh = found["spec"]["containers"]
    assert gateway["resources"]["requests"] == {"cpu": "10m", "memory": "128Mi"}
    assert gateway["image"] == IMAGE
    assert mesh["name"] == "mesh"


def test_the_role_is_bound_to_the_account_that_the_pod_runs_as_in_the_end() -> None:
    objects = made(gate(podTemplateSpec={"spec": {"serviceAccountName": "other"}}))
    assert objects["RoleBinding"]["subjects"][0]["name"] == "other"


def test_the_deployment_says_which_pod_template_and_pull_secrets_it_was_made_from() -> None:
    def hashes(**spec: Any) -> dict[str, str]:
        metadata = made(gate(**spec))["Deployment"]["metadata"]
        return dict(metadata.get("annotations", {}))

    pod_template, secrets = "toolhive.stacklok.io/podtemplatespec-hash", "toolhive.stacklok.io/imagepullsecrets-hash"
    assert hashes() == {}
    one, other = ({"podTemplateSpec": {"spec": {"nodeSelector": {"disk": disk}}}} for disk in ("fast", "slow"))
    assert hashes(**one).keys() == {pod_template}
    assert hashes(**one) != hashes(**other)
    assert hashes(imagePullSecrets=[{"name": "regcred"}]).keys() == {secrets}


def test_a_header_from_a_secret_reaches_the_gateway_by_reference_and_may_be_missing() -> None:
    reference = {"headerName": "X-Key", "valueSecretRef": {"name": "s", "key": "k"}}
    objects = made(entries=(entry(headerForward={"addHeadersFromSecret": [reference]}),))
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    variable = container["env"][-1]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}
    (backend,) = yaml.safe_load(objects["ConfigMap"]["data"]["config.yaml"])["backends"]
    assert backend["headersFromEnv"] == {"X-Key": variable["name"]}


def test_replicas_are_left_alone_unless_the_spec_sets_them() -> None:
    assert "replicas" not in made()["Deployment"]["spec"]
    assert made(gate(replicas=3))["Deployment"]["spec"]["replicas"] == 3
    assert made(gate(replicas=0))["Deployment"]["spec"]["replicas"] == 0


def test_the_config_map_carries_its_own_labels_and_a_checksum_of_its_content() -> None:
    one, other = made()["ConfigMap"], made(servers=(server(),))["ConfigMap"]
    labels = one["metadata"]["labels"]
    assert labels["toolhive.stacklok.io/component"] == "vmcp-config"
    assert labels["toolhive.stacklok.io/virtual-mcp-server"] == "gate"
    assert labels["toolhive.stacklok.io/managed-by"] == "toolhive-operator"
    checksum = "toolhive.stacklok.dev/content-checksum"
    assert one["metadata"]["annotations"][checksum] != other["metadata"]["annotations"][checksum]


OPERATIONAL: JsonObject = {
    "timeouts": {"default": "20s", "perWorkload": {"search": "40s"}},
    "failureHandling": {
        "healthCheckInterval": "10s",
        "unhealthyThreshold": 2,
        "circuitBreaker": {"enabled": True, "failureThreshold": 4, "timeout": "45s"},
    },
}


def test_the_configuration_contains_the_operational_block_as_it_is_written() -> None:
    text = made(gate(config={"operational": OPERATIONAL}))["ConfigMap"]["data"]["config.yaml"]
    read = yaml.safe_load(text)["operational"]
    assert read["timeouts"] == OPERATIONAL["timeouts"]
    assert (
        OPERATIONAL["failureHandling"].items()
        >= {name: read["failureHandling"][name] for name in ("healthCheckInterval", "unhealthyThreshold")}.items()
    )
    assert read["failureHandling"]["circuitBreaker"] == {"enabled": True, "failureThreshold": 4, "timeout": "45s"}
    assert "circuitBreaker:" in text
    assert "enabled: true" in text


def test_the_gateway_reads_back_the_configuration_that_was_written() -> None:
    asked = wanted(
        gate(config={"operational": OPERATIONAL, "backends": [inline()]}),
        servers=(server(), server("closed", externalAuthConfigRef={"name": "okta"})),
        entries=(entry(caBundleRef=CA, headerForward={"addPlaintextHeaders": {"X-Tenant": "blue: #1"}}),),
        authorities=AUTHORITIES,
    )
    text = {owned.kind.name: owned.body for owned in desired(asked)}["ConfigMap"]["data"]["config.yaml"]
    assert load_gateway_config(text) == asked.config


def test_the_gateway_reads_back_a_spec_with_every_field_that_is_served() -> None:
    spec = copy.deepcopy(samples.EVERY_VMCP_FIELD["spec"])
    for closed in ("authServerConfig",):
        spec.pop(closed, None)
    spec["incomingAuth"] = {"type": "anonymous"}
    for closed in ("incomingAuth", "rateLimiting"):
        spec["config"].pop(closed, None)
    spec["config"].pop("aggregation", None)
    asked = wanted(gate(**spec))
    text = {owned.kind.name: owned.body for owned in desired(asked)}["ConfigMap"]["data"]["config.yaml"]
    assert load_gateway_config(text) == asked.config


def test_equal_input_makes_equal_objects_in_whatever_order_members_are_seen() -> None:
    members = (server("a"), server("b"), server("c"))
    asked = {"operational": {"timeouts": {"perWorkload": {"a": "1s", "b": "2s"}}}}
    turned = {"operational": {"timeouts": {"perWorkload": {"b": "2s", "a": "1s"}}}}
    assert made(gate(config=asked), servers=members) == made(gate(config=turned), servers=members[::-1])


RELOADED: dict[str, dict[str, Any]] = {
    "a backend": {"servers": (server(),)},
    "another backend": {"servers": (server(), server("second"))},
    "a remote backend": {"entries": (entry(headerForward={"addPlaintextHeaders": {"A": "1"}}),)},
    "settings": {"owner": gate(config={"operational": OPERATIONAL})},
    "an interval": {"owner": gate(config={"operational": {"failureHandling": {"healthCheckInterval": "5s"}}})},
    "a backend of the spec": {"owner": gate(config={"backends": [inline()]})},
    "the Service": {"owner": gate(serviceType="NodePort", sessionAffinity="None")},
    "replicas": {"owner": gate(replicas=3)},
}


@pytest.mark.parametrize("change", RELOADED)
def test_what_the_gateway_reloads_restarts_no_pod(change: str) -> None:
    around = dict(RELOADED[change])
    assert template(around.pop("owner", None), **around) == template()


RESTARTED: dict[str, dict[str, Any]] = {
    "image": {"image": "example.com/vmcp:2"},
    "account": {"owner": gate(serviceAccount="mine")},
    "pull secrets": {"owner": gate(imagePullSecrets=[{"name": "regcred"}])},
    "log level": {"owner": gate(config={"operational": {"logLevel": "debug"}})},
    "a mount": {"entries": (entry(caBundleRef=CA),), "authorities": AUTHORITIES},
    "session storage": {"owner": gate(sessionStorage=samples.REDIS)},
}


@pytest.mark.parametrize("change", RESTARTED)
def test_what_a_process_cannot_reload_restarts_the_pods(change: str) -> None:
    around = dict(RESTARTED[change])
    before, after = template(), template(around.pop("owner", None), **around)
    assert after["metadata"]["annotations"][CHECKSUM] != before["metadata"]["annotations"][CHECKSUM]


def test_another_secret_for_a_header_restarts_the_pods() -> None:
    def annotations(key: str) -> JsonObject:
        header = {"headerName": "X-Key", "valueSecretRef": {"name": "s", "key": key}}
        found: JsonObject = template(entries=(entry(headerForward={"addHeadersFromSecret": [header]}),))
        return dict(found["metadata"]["annotations"])

    assert annotations("k")[CHECKSUM] != annotations("other")[CHECKSUM]


def test_new_content_of_a_mounted_bundle_restarts_no_pod() -> None:
    members = (entry(caBundleRef=CA),)
    renewed = template(entries=members, authorities={("corp-ca", "ca.crt"): "OTHER PEM"})
    assert renewed == template(entries=members, authorities=AUTHORITIES)


def test_a_bundle_is_mounted_where_the_configuration_says() -> None:
    long = "b" * 200
    around: dict[str, Any] = {
        "entries": (entry(caBundleRef=CA), entry(long, caBundleRef=CA)),
        "authorities": AUTHORITIES,
    }
    security, (found,) = pod(**around), pod(**around)["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in found["volumeMounts"]}
    volumes = {volume["name"]: volume["configMap"] for volume in security["volumes"]}
    for name in ("remote", long):
        volume = volumes[mounts[f"/etc/toolhive/ca-bundles/{name}"]]
        assert volume == {"name": "corp-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    assert volumes[mounts["/etc/vmcp-config"]]["name"] == "gate-vmcp-config"
    assert len(volumes) == 3
    assert all(len(name) <= 63 for name in volumes)
    paths = {backend.ca_bundle_path for backend in wanted(**around).config.backends}
    assert paths == {f"/etc/toolhive/ca-bundles/{name}/ca.crt" for name in ("remote", long)}
