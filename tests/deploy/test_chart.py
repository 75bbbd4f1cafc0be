"""What the chart's values do."""

import subprocess

import pytest
import typer
import yaml
from tests.deploy.renderings import CLUSTER_KINDS, container, deployment, helmed, of_kind

import vmcp
from vmcp.cli.main import app
from vmcp_dev.deployfiles import CHART, rendered
from vmcp_dev.tools import find_tool


def refusal(*settings: str) -> str:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        rendered(*settings)
    return str(caught.value.stderr)


def test_helm_finds_nothing_to_say() -> None:
    done = subprocess.run([find_tool("helm"), "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_has_the_version_of_the_operator() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == vmcp.__version__


def test_crds_outlive_the_release_and_may_be_left_to_others() -> None:
    crds = of_kind(rendered(), "CustomResourceDefinition")
    assert crds
    assert all(crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for crd in crds)
    assert of_kind(rendered("crds.install=false"), "CustomResourceDefinition") == []


def test_a_namespaced_operator_has_no_right_outside_of_its_namespaces() -> None:
    objects = rendered("namespaces={one,two}")
    assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
    assert {obj["metadata"]["namespace"] for obj in of_kind(objects, "Role")} == {"vmcp-system", "one", "two"}
    assert {obj["kind"] for obj in objects if "namespace" not in obj["metadata"]} <= CLUSTER_KINDS
    assert {"--namespace=one", "--namespace=two"} <= set(container(objects)["args"])
    nothing_shared = rendered("namespaces={one}", "crds.install=false", "admissionPolicy.install=false")
    assert all("namespace" in obj["metadata"] for obj in nothing_shared)


def test_an_operator_that_only_reads_mcpservers_has_fewer_rights() -> None:
    def rights(*settings: str) -> set[tuple[str, str]]:
        (role,) = of_kind(rendered(*settings), "ClusterRole")
        return {(name, verb) for rule in role["rules"] for name in rule["resources"] for verb in rule["verbs"]}

    taken = rights() - rights("manageMCPServers=false")
    assert {("statefulsets", "patch"), ("pods/attach", "create"), ("mcpservers/status", "patch")} <= taken
    assert not any(resource == "statefulsets" for resource, _ in rights("manageMCPServers=false"))


def test_several_replicas_spread_and_survive_a_drain_and_need_a_lease() -> None:
    objects = helmed("highly-available")
    assert [obj["spec"]["maxUnavailable"] for obj in of_kind(objects, "PodDisruptionBudget")] == [1]
    assert deployment(objects)["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert of_kind(rendered(), "PodDisruptionBudget") == []
    assert "leaderElect" in refusal("replicas=2", "leaderElect=false")


def test_every_value_is_in_the_document() -> None:
    document = (CHART.parents[2] / "docs" / "install.md").read_text()
    for name in yaml.safe_load((CHART / "values.yaml").read_text()):
        assert f"`{name}" in document, name


def test_a_value_that_does_not_exist_is_refused() -> None:
    assert "additional properties 'replicaCount' not allowed" in refusal("replicaCount=2")
    assert "/namespaces/0" in refusal("namespaces={Not_A_Name}")


def test_pods_carry_what_meshes_and_schedulers_ask_for() -> None:
    pod = deployment(
        rendered(
            "podLabels.mesh=on",
            "podAnnotations.sidecar=yes-please",
            "priorityClassName=urgent",
            "nodeSelector.disk=fast",
            "tolerations[0].operator=Exists",
            "imagePullSecrets[0].name=pull",
            "extraEnv[0].name=OTEL_EXPORTER_OTLP_ENDPOINT",
            "extraEnv[0].value=http://collector:4318",
        )
    )["spec"]["template"]
    assert pod["metadata"]["labels"]["mesh"] == "on"
    assert pod["metadata"]["annotations"] == {"sidecar": "yes-please"}
    assert pod["spec"]["priorityClassName"] == "urgent"
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    added = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}
    assert added in pod["spec"]["containers"][0]["env"]


def test_an_image_may_be_named_by_its_digest() -> None:
    digest = "sha256:" + "a" * 64
    assert container(rendered("image.repository=mirror/vmcp", f"image.digest={digest}"))["image"] == (
        f"mirror/vmcp@{digest}"
    )


def test_the_operator_knows_its_arguments_and_environment() -> None:
    command = typer.main.get_command(app).commands["operator"]  # type: ignore[attr-defined]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    variables = {str(parameter.envvar) for parameter in command.params if parameter.envvar}
    for settings in ((), ("leaderElect=false", "namespaces={one}", "logFormat=text")):
        operator = container(rendered(*settings))
        assert operator["args"][0] == "operator"
        assert {argument.partition("=")[0] for argument in operator["args"][1:]} <= options
        assert {each["name"] for each in operator["env"]} <= variables


def test_monitoring_is_rendered_where_it_is_asked_for() -> None:
    assert of_kind(rendered(), "ServiceMonitor", "PrometheusRule") == []
    objects = rendered(
        "serviceMonitor.enabled=true", "serviceMonitor.labels.release=stack", "prometheusRule.enabled=true"
    )
    (monitor,) = of_kind(objects, "ServiceMonitor")
    (service,) = of_kind(objects, "Service")
    assert monitor["metadata"]["labels"]["release"] == "stack"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (rule,) = of_kind(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
