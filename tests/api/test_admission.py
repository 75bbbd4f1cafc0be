"""A real API server takes the CRDs, keeps every field, refuses what is wrong and explains what is meant."""

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.api.manifests import BAD, GOOD, Row, lost
from tests.api.samples import GROUP, Manifest, handling

from vmcp.api.crd import DEFINITIONS, crd
from vmcp.api.validation import validate
from vmcp_dev.crdinstall import CRDS, await_established
from vmcp_dev.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.usefixtures("crds")

OLDER_GROUP = "older.example.com"
BOUNDS = ("minimum", "maximum", "maxLength", "pattern")


def by_name(rows: tuple[Row, ...]) -> list[Any]:
    return [pytest.param(row, id=row.name) for row in rows]


def dry_run(kubectl: Kubectl, namespace: str, manifest: Manifest) -> Manifest:
    """What the API server would store; a warning is an error."""
    options = ("--dry-run=server", "--warnings-as-errors", "-f", "-", "-o", "json", "-n", namespace)
    stored = json.loads(kubectl("create", *options, stdin=json.dumps(manifest)))
    assert isinstance(stored, dict)
    return stored


@pytest.mark.parametrize("path", sorted(CRDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_crd_is_taken_without_a_warning(kubectl: Kubectl, path: Any) -> None:
    kubectl("apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", str(path))


@pytest.mark.parametrize("row", by_name(GOOD))
def test_a_good_manifest_is_taken_and_every_field_kept(kubectl: Kubectl, row: Row) -> None:
    assert lost(row.manifest, dry_run(kubectl, "default", row.manifest)) == []


@pytest.mark.parametrize("row", by_name(BAD))
def test_a_bad_manifest_is_refused_with_what_is_wrong(kubectl: Kubectl, row: Row) -> None:
    with pytest.raises(KubectlError) as refused:
        dry_run(kubectl, "default", row.manifest)
    assert row.error is not None
    assert row.error in refused.value.stderr


def test_kubectl_explains_the_operational_block(kubectl: Kubectl) -> None:
    assert "failureHandling" in kubectl("explain", "vmcp.spec.config.operational")
    text = " ".join(kubectl("explain", "vmcp.spec.config.operational.failureHandling.circuitBreaker").split())
    assert "Consecutive failed checks that open the circuit, 1 to 1000. Default 5." in text
    assert "half-open (only health checks try it" in text


def test_short_names_category_columns_and_selectable_fields(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(handling()))
    header = kubectl("get", "vmcp", "-o", "wide", "-n", namespace).splitlines()[0].split()
    assert header == ["NAME", "PHASE", "URL", "BACKENDS", "AGE", "READY", "REASON", "MESSAGE"]
    for options in (["toolhive"], ["virtualmcp", "--field-selector=spec.groupRef.name=team"]):
        assert "sample" in kubectl("get", *options, "-n", namespace)


@pytest.fixture
def older_crd(kubectl: Kubectl) -> Iterator[Manifest]:
    """The CRD of VirtualMCPServers in a group of its own, installed as it was before the rules; yields the new."""
    text = json.dumps(crd(DEFINITIONS[0])).replace(GROUP, OLDER_GROUP)
    newer: Manifest = json.loads(text)
    newer["spec"]["names"] = {"kind": "OlderVMCP", "plural": "virtualmcpservers", "singular": "oldervmcp"}
    older = copy.deepcopy(newer)
    for version in older["spec"]["versions"]:
        without_rules(version["schema"]["openAPIV3Schema"])
    install(kubectl, older)
    yield newer
    kubectl("delete", "crd", f"virtualmcpservers.{OLDER_GROUP}", "--wait=false")


def without_rules(schema: Manifest) -> None:
    for name in (*BOUNDS, "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"):
        schema.pop(name, None)
    for child in schema.get("properties", {}).values():
        without_rules(child)
    for key in ("items", "additionalProperties"):
        if key in schema:
            without_rules(schema[key])


def install(kubectl: Kubectl, definition: Manifest) -> None:
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(definition))
    await_established(kubectl, f"crd/{definition['metadata']['name']}")
    deadline = time.monotonic() + 90
    while definition["metadata"]["name"] not in kubectl("api-resources", "-o", "name").split():
        assert time.monotonic() < deadline, "the new kind was never served"
        time.sleep(0.1)


def test_an_object_older_than_a_rule_still_takes_status(kubectl: Kubectl, namespace: str, older_crd: Manifest) -> None:
    wrong = handling(healthCheckInterval="0s", healthCheckTimeout="40s", unhealthyThreshold=0)
    wrong |= {"apiVersion": f"{OLDER_GROUP}/v1beta1", "kind": "OlderVMCP"}
    backend = {"name": "a", "url": "http://a", "transport": "sse"}
    wrong["spec"]["config"]["backends"] = [backend, backend]
    resource = f"virtualmcpservers.{OLDER_GROUP}/sample"
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(wrong))

    install(kubectl, older_crd)
    await_rules(kubectl, namespace, wrong)

    status = {**wrong, "status": {"phase": "Failed"}}
    del status["spec"]
    apply = ("apply", "--server-side", "--subresource=status", "-n", namespace, "-f", "-")
    kubectl(*apply, stdin=json.dumps(status))
    stored = kubectl.json("get", resource, "-n", namespace)
    assert stored["status"]["phase"] == "Failed"
    assert {problem.path.rsplit(".", 1)[1] for problem in validate(stored["spec"])} == {
        "healthCheckInterval",
        "unhealthyThreshold",
    }


def await_rules(kubectl: Kubectl, namespace: str, wrong: Manifest) -> None:
    """A changed schema is in force a moment after it was stored."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            dry_run(kubectl, namespace, {**wrong, "metadata": {"name": "another"}})
        except KubectlError as refused:
            if "must be a duration" in refused.stderr:
                return
        time.sleep(0.1)
    raise AssertionError("the new rules never came into force")
