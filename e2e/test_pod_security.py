"""Everything runs where the restricted Pod Security Standard is enforced."""

import json

import pytest

from e2e.conftest import OPERATOR_NAMESPACE, Images
from e2e.stage import Stage
from vmcp_dev.kubectl import KubectlError

pytestmark = pytest.mark.usefixtures("operator")


async def test_every_namespace_enforces_restricted_and_nothing_is_refused(stage: Stage, pulled: Images) -> None:
    await stage.serve(pulled.backend, "first")
    namespaces = json.loads(await stage.kubectl("get", "namespaces", "-l", "vmcp-e2e=true", "-o", "json"))["items"]
    names = {namespace["metadata"]["name"] for namespace in namespaces}
    assert {stage.namespace, OPERATOR_NAMESPACE} <= names
    for namespace in namespaces:
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    events = json.loads(await stage.kubectl("get", "events", "--all-namespaces", "-o", "json"))["items"]
    assert not [e["message"] for e in events if e["reason"] == "FailedCreate" and "PodSecurity" in e.get("message", "")]


async def test_a_pod_that_is_not_restricted_is_refused_there(stage: Stage, pulled: Images) -> None:
    spec = {"containers": [{"name": "c", "image": pulled.backend}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        await stage.apply(pod)
