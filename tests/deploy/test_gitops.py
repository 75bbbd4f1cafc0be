"""The health checks that docs/install.md gives Argo CD and Flux: the Lua is run, the CEL is asked of the API server."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml
from tests.integration.stage import eventually, gateway

from vmcp_dev.kubectl import Kubectl, KubectlError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "install.md").read_text()

CASES = {
    "nothing said yet": ({}, "Progressing", "InProgress"),
    "said of an older generation": ({"phase": "Ready", "observedGeneration": 0}, "Progressing", "InProgress"),
    "ready": ({"phase": "Ready"}, "Healthy", "Current"),
    "some backends out": ({"phase": "Degraded"}, "Healthy", "Current"),
    "pending": ({"phase": "Pending"}, "Progressing", "Unknown"),
    "failed": ({"phase": "Failed"}, "Degraded", "Unknown"),
    "only a person can help": ({"phase": "Failed", "stalled": "True"}, "Degraded", "Failed"),
    "stalled beats what is left of the past": ({"phase": "Degraded", "stalled": "True"}, "Degraded", "Failed"),
}
EACH_CASE = pytest.mark.parametrize(("said", "argo", "flux"), CASES.values(), ids=CASES)


def block(word: str) -> Any:
    """The YAML block of the document in which the word is."""
    (found,) = [text for text in re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE) if word in text]
    return yaml.safe_load(found)


def status(said: dict[str, Any]) -> dict[str, Any]:
    if not said:
        return {}
    moment = {"reason": "X", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    conditions = [
        {"type": "Ready", "status": "False", "message": "is it ready?", **moment},
        {"type": "Stalled", "status": said.get("stalled", "False"), "message": "a person must help", **moment},
    ]
    return {"observedGeneration": 1, "conditions": conditions} | {k: v for k, v in said.items() if k != "stalled"}


@EACH_CASE
def test_argo_cd_judges_the_health(said: dict[str, Any], argo: str, flux: str) -> None:
    (script,) = block("resource.customizations")["data"].values()
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    judge: Callable[[object], Any] = lua.eval(f"function(obj) {script} end")
    obj = {"metadata": {"generation": 1}} | ({"status": status(said)} if said else {})

    judged = judge(lua.table_from(obj, recursive=True))
    assert judged["status"] == argo
    assert judged["message"]


@pytest.fixture
def asked(kubectl: Kubectl, crds: None, namespace: str) -> Iterator[Callable[[dict[str, Any]], str]]:
    """What Flux would conclude of a status: a policy refuses every status and says so."""
    (check,) = block("healthCheckExprs")["healthCheckExprs"]
    assert f"{check['apiVersion']} {check['kind']}" == f"{gateway()['apiVersion']} {gateway()['kind']}"
    stages = [("InProgress", "inProgress"), ("Failed", "failed"), ("Current", "current")]
    verdict = " : ".join(f"({_of_object(check[field])}) ? 'verdict {name}'" for name, field in stages)
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["toolhive.stacklok.dev"],
                        "apiVersions": ["v1beta1"],
                        "operations": ["UPDATE"],
                        "resources": ["virtualmcpservers/status"],
                    }
                ]
            },
            "validations": [{"expression": "false", "messageExpression": f"{verdict} : 'verdict Unknown'"}],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {
            "policyName": namespace,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    made = gateway()
    kubectl.apply(policy, binding, {**made, "metadata": {"name": "front", "namespace": namespace}})

    def ask(stored: dict[str, Any]) -> str:
        patch = json.dumps({"status": stored})
        options = ["--subresource=status", "--type=merge", "--dry-run=server", "-p", patch]
        try:
            kubectl("-n", namespace, "patch", "virtualmcpserver", "front", *options)
        except KubectlError as error:
            found = re.search(r"verdict (\w+)", error.stderr)
            return found[1] if found else error.stderr
        return ""

    eventually(lambda: ask(status({"phase": "Ready"})))
    yield ask
    kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", namespace)


def _of_object(expression: str) -> str:
    """Flux names the fields of the object without saying `object`."""
    return re.sub(r"(?<![.\w])(status|metadata)\.", r"object.\1.", expression)


def test_flux_judges_the_health(asked: Callable[[dict[str, Any]], str]) -> None:
    # An object without any status cannot be judged, and is waited for.
    concluded = {name: asked(status(said)) for name, (said, _, _) in CASES.items() if said}
    assert concluded == {name: flux for name, (said, _, flux) in CASES.items() if said}
