"""What is left of the operator when its release is gone."""

import subprocess

from e2e import fleet
from e2e.conftest import OPERATOR_NAMESPACE, Images
from e2e.kind import Kind
from e2e.release import Release, Values
from e2e.stage import Stage
from e2e.waiting import until
from vmcp_dev.kubectl import KubectlError

# What comes and goes by itself.
_PASSING = ("events", "events.events.k8s.io", "endpointslices.discovery.k8s.io", "pods.metrics.k8s.io", "pods")


async def test_uninstall_leaves_nothing_but_the_crds(
    stage: Stage, cluster: Kind, pulled: Images, operator: Release, values: Values
) -> None:
    operator.uninstall()
    cluster.kubectl("delete", "namespace", OPERATOR_NAMESPACE, "--timeout=180s", timeout_seconds=200.0)
    cluster.kubectl.apply(fleet.namespace(OPERATOR_NAMESPACE))
    await _furnished(stage)
    before = _everything(cluster)

    operator.install(values)
    await stage.serve(pulled.backend, "first")
    await stage.kubectl("delete", "vmcp,mcpgroup,mcpserverentry", "--all")
    await stage.kubectl("delete", "deployment,service", "-l", "e2e-backend=first")
    await stage.kubectl("delete", "deployment/first", "service/first", "--ignore-not-found")

    async def gateway_gone() -> bool:
        return not await stage.all("deployment") and not await stage.all("pod")

    await until("the gateway is gone with its object", gateway_gone, limit_s=180)
    operator.uninstall()

    async def nothing_new() -> set[str]:
        return {"nothing"} if not _everything(cluster) - before else set()

    try:
        await until("nothing is left", nothing_new, limit_s=60)
    finally:
        left = _everything(cluster) - before
        crds = cluster.kubectl("get", "crd", "-o", "name").split()
    assert not left
    assert any(name.endswith("virtualmcpservers.toolhive.stacklok.dev") for name in crds)


async def _furnished(stage: Stage) -> None:
    async def made() -> bool:
        try:
            furniture = ("serviceaccount/default", "configmap/kube-root-ca.crt")
            return bool(stage.kind.kubectl("-n", OPERATOR_NAMESPACE, "get", *furniture, "-o", "name"))
        except (KubectlError, subprocess.TimeoutExpired):
            return False

    await until("the namespace is furnished", made, limit_s=60)


def _everything(cluster: Kind) -> set[str]:
    """Every object of the cluster, but CRDs and what passes by itself."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "-o", "name").split()
    kept = [kind for kind in kinds if kind not in _PASSING and not kind.startswith("customresourcedefinitions")]
    columns = "custom-columns=NAMESPACE:.metadata.namespace,KIND:.kind,NAME:.metadata.name"
    shown = cluster.kubectl("get", ",".join(kept), "-A", "--ignore-not-found", "--no-headers", "-o", columns)
    return {" ".join(line.split()) for line in shown.splitlines()}
