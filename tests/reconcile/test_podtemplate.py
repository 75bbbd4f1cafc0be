"""A user's podTemplateSpec over ours: what is merged, what wins, what is refused."""

import copy
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmcp.reconcile.podtemplate import InvalidPodTemplate, merged
from vmcp_dev.controlplane import ControlPlane

JsonObject = dict[str, Any]

OURS: JsonObject = {
    "metadata": {"labels": {"app": "ours", "instance": "gate"}, "annotations": {"checksum": "1"}},
    "spec": {
        "serviceAccountName": "gate-vmcp",
        "securityContext": {"runAsNonRoot": True},
        "containers": [
            {
                "name": "vmcp",
                "image": "vmcp:1",
                "args": ["serve"],
                "ports": [{"name": "http", "containerPort": 4483}],
                "env": [{"name": "VMCP_NAME", "value": "gate"}, {"name": "TOKEN", "value": "plain"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/config", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "gate-config"}}],
    },
}


def of_container(**fields: Any) -> JsonObject:
    """An override of our container."""
    return {"spec": {"containers": [{"name": "vmcp", **fields}]}}


def container(override: JsonObject) -> JsonObject:
    found: JsonObject = merged(OURS, override)["spec"]["containers"][0]
    return found


def refusal(override: JsonObject) -> str:
    with pytest.raises(InvalidPodTemplate) as error:
        merged(OURS, override)
    return str(error.value)


def test_the_container_is_found_by_its_name_and_the_rest_of_it_stays() -> None:
    patched = container(of_container(resources={"requests": {"cpu": "10m"}}))
    assert patched["resources"] == {"requests": {"cpu": "10m", "memory": "128Mi"}}
    assert patched["image"] == "vmcp:1"


def test_sidecars_volumes_and_variables_are_added_behind_ours() -> None:
    override = of_container(
        env=[{"name": "LOG", "value": "x"}], volumeMounts=[{"name": "cache", "mountPath": "/cache"}]
    )
    override["spec"]["containers"].append({"name": "proxy", "image": "envoy"})
    override["spec"]["volumes"] = [{"name": "cache", "emptyDir": {}}]
    spec = merged(OURS, override)["spec"]
    assert [item["name"] for item in spec["containers"]] == ["vmcp", "proxy"]
    assert [item["name"] for item in spec["containers"][0]["env"]] == ["VMCP_NAME", "TOKEN", "LOG"]
    assert [item["name"] for item in spec["volumes"]] == ["config", "cache"]


def test_a_list_without_a_key_replaces_ours() -> None:
    assert container(of_container(args=["serve", "--debug"]))["args"] == ["serve", "--debug"]
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    assert merged(OURS, {"spec": {"tolerations": tolerations}})["spec"]["tolerations"] == tolerations


def test_a_variable_from_a_secret_replaces_a_plain_one() -> None:
    reference = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert container(of_container(env=[{"name": "TOKEN", **reference}]))["env"][1] == {"name": "TOKEN", **reference}


def test_null_and_patch_delete_take_away() -> None:
    assert "securityContext" not in merged(OURS, {"spec": {"securityContext": None}})["spec"]
    deleted = container(of_container(env=[{"name": "TOKEN", "$patch": "delete"}]))
    assert [item["name"] for item in deleted["env"]] == ["VMCP_NAME"]


def test_patch_replace_sets_anew() -> None:
    replaced = container(of_container(resources={"$patch": "replace", "limits": {"cpu": "1"}}))
    assert replaced["resources"] == {"limits": {"cpu": "1"}}
    env = container(of_container(env=[{"$patch": "replace"}, {"name": "ONLY", "value": "1"}]))["env"]
    assert env == [{"name": "ONLY", "value": "1"}]


def test_labels_and_annotations_are_added_but_ours_keep_their_value() -> None:
    override = {"metadata": {"labels": {"app": "mine", "team": "a"}, "annotations": {"checksum": None, "mesh": "on"}}}
    assert merged(OURS, override)["metadata"] == {
        "labels": {"app": "ours", "instance": "gate", "team": "a"},
        "annotations": {"checksum": "1", "mesh": "on"},
    }
    assert merged(OURS, {"metadata": None})["metadata"] == OURS["metadata"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"spec": None}, "spec.podTemplateSpec.spec: must stay"),
        ({"spec": []}, "spec.podTemplateSpec.spec: must be an object"),
        ({"spec": {"containers": {}}}, "spec.podTemplateSpec.spec.containers: must be a list of objects"),
        ({"spec": {"containers": ["vmcp"]}}, "spec.podTemplateSpec.spec.containers: must be a list of objects"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.podTemplateSpec.spec.containers[0].name: is required"),
        (of_container(args="--debug"), "spec.podTemplateSpec.spec.containers[0].args: must be a list"),
        ({"spec": {"$retainKeys": []}}, "spec.podTemplateSpec.spec.$retainKeys: only $patch is known"),
        ({"spec": {"$patch": "drop"}}, "'drop' is none of merge, replace and delete"),
        ({"spec": {"containers": [{"name": "vmcp", "$patch": "delete"}]}}, "the container vmcp must stay"),
        ({"spec": {"containers": None}}, "the container vmcp must stay"),
        ({"spec": {"volumes": [{"name": "config", "emptyDir": {}}]}}, "the volume config is the operator's"),
        ({"spec": {"volumes": None}}, "the volume config is the operator's"),
        (of_container(volumeMounts=[{"mountPath": "/etc/config", "name": "x"}]), "the volume mount /etc/config"),
        (of_container(volumeMounts=None), "the volume mount /etc/config"),
    ],
)
def test_what_is_malformed_or_takes_away_what_must_stay_is_refused_with_its_place(
    override: JsonObject, said: str
) -> None:
    assert said in refusal(override)


_SCALARS = st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["a", "b"])
_NAMES = st.sampled_from(
    [
        "spec",
        "metadata",
        "labels",
        "containers",
        "env",
        "volumes",
        "volumeMounts",
        "name",
        "mountPath",
        "args",
        "$patch",
    ]
)
_ANYTHING = st.recursive(
    _SCALARS | st.sampled_from(["vmcp", "config", "/etc/config", "delete", "replace"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(override=st.dictionaries(_NAMES, _ANYTHING, max_size=3))
@settings(max_examples=300, deadline=None)
def test_no_override_takes_away_selector_container_or_configuration(override: JsonObject) -> None:
    before = copy.deepcopy((OURS, override))
    try:
        result = merged(OURS, override)
    except InvalidPodTemplate:
        return
    finally:
        assert (OURS, override) == before
    assert result["metadata"]["labels"].items() >= OURS["metadata"]["labels"].items()
    assert result["metadata"]["annotations"]["checksum"] == "1"
    (kept,) = [item for item in result["spec"]["containers"] if item["name"] == "vmcp"]
    assert OURS["spec"]["containers"][0]["volumeMounts"][0] in kept["volumeMounts"]
    assert OURS["spec"]["volumes"][0] in result["spec"]["volumes"]
    assert merged(result, {}) == result


_KEYED = {
    "env": st.fixed_dictionaries({"name": st.sampled_from(["VMCP_NAME", "NEW"]), "value": st.sampled_from("xy")}),
    "ports": st.fixed_dictionaries({"containerPort": st.sampled_from([4483, 9000]), "protocol": st.just("TCP")}),
    "volumeMounts": st.fixed_dictionaries({"mountPath": st.sampled_from(["/a", "/b"]), "name": st.sampled_from("vw")}),
}
_CONTAINER = st.fixed_dictionaries(
    {"name": st.sampled_from(["vmcp", "sidecar"])},
    optional={
        "image": st.sampled_from(["a", "b"]),
        "args": st.lists(st.sampled_from("xy"), min_size=1, max_size=2),
        "resources": st.fixed_dictionaries({"requests": st.fixed_dictionaries({"cpu": st.sampled_from(["1", "2"])})}),
        "livenessProbe": st.fixed_dictionaries({"periodSeconds": st.integers(1, 3)}),
        **{
            name: st.lists(items, min_size=1, max_size=2, unique_by=lambda item: str(next(iter(item.values()))))
            for name, items in _KEYED.items()
        },
    },
)
_POD = st.fixed_dictionaries(
    {},
    optional={
        "containers": st.lists(_CONTAINER, min_size=1, max_size=2, unique_by=lambda item: str(item["name"])),
        "initContainers": st.lists(_CONTAINER, min_size=1, max_size=2, unique_by=lambda item: str(item["name"])),
        "volumes": st.just([{"name": "extra", "emptyDir": {"medium": "Memory"}}]),
        "imagePullSecrets": st.just([{"name": "pull"}]),
        "tolerations": st.lists(
            st.fixed_dictionaries({"key": st.sampled_from(["a", "b"]), "operator": st.just("Exists")}),
            min_size=1,
            max_size=2,
        ),
        "nodeSelector": st.dictionaries(st.sampled_from(["zone", "disk"]), st.sampled_from(["x", "y"]), min_size=1),
        "securityContext": st.sampled_from([{"runAsUser": 7}, {"runAsUser": 7, "runAsNonRoot": None}]),
        "hostAliases": st.just([{"ip": "10.0.0.1", "hostnames": ["a"]}]),
    },
)
_OVERRIDES = st.lists(_POD, min_size=12, max_size=12)


@given(pods=_OVERRIDES)
@settings(max_examples=1, deadline=None, derandomize=True)
def test_the_merge_is_the_one_of_kubernetes(control_plane: ControlPlane, pods: list[JsonObject]) -> None:
    for pod in pods:
        assert normal(merged(OURS, {"spec": pod})["spec"]) == normal(by_kubectl(control_plane, pod))


def by_kubectl(control_plane: ControlPlane, pod: JsonObject) -> JsonObject:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": OURS}}
    patch = json.dumps({"spec": {"template": {"spec": pod}}})
    command = [str(control_plane.binaries.kubectl), "patch", "--local", "--type=strategic", "-f", "-", "-o", "json"]
    done = subprocess.run(
        [*command, "-p", patch], input=json.dumps(deployment), capture_output=True, text=True, check=True, timeout=60
    )
    found: JsonObject = json.loads(done.stdout)["spec"]["template"]["spec"]
    return found


def normal(value: Any) -> Any:
    """Without what is empty, and lists by key: kubectl fills in `resources: {}` and sorts what is new to the front."""
    if isinstance(value, dict):
        cleaned = {name: normal(item) for name, item in value.items()}
        return {name: item for name, item in cleaned.items() if item not in (None, {}, [])}
    if isinstance(value, list):
        items = [normal(item) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if _keyed(items) else items
    return value


def _keyed(items: list[Any]) -> bool:
    return all(isinstance(item, dict) and {"name", "containerPort"} & set(item) for item in items)
