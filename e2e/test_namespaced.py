"""An operator that is limited to one namespace."""

from e2e import fleet
from e2e.conftest import Images
from e2e.kind import Kind
from e2e.permissions import refused, while_installed
from e2e.release import Release, Values
from e2e.scenario import Scenario
from e2e.stage import Stage


async def test_namespaced_operator_sees_nothing_outside(
    stage: Stage,
    cluster: Kind,
    pulled: Images,
    operator: Release,
    values: Values,
    scenario: Scenario,
) -> None:
    operator.uninstall()
    outside = Stage(cluster, f"{stage.namespace}-outside", stage.api)
    home = f"{stage.namespace}-home"
    cluster.kubectl.apply(fleet.namespace(home), fleet.namespace(outside.namespace))
    scoped = Release(cluster, home)
    try:
        # What serves one namespace needs nothing of the cluster's: CRDs and admission policies are there already.
        nothing_of_the_clusters = {"crds": {"install": False}, "admissionPolicy": {"install": False}}
        scoped.install({**values, **nothing_of_the_clusters, "namespaces": [stage.namespace]})
        assert "ClusterRole" not in {obj["kind"] for obj in scoped.objects()}
        for where in (outside, stage):
            await where.apply(
                fleet.group("tools"),
                fleet.entry("first", "tools", where.namespace),
                *fleet.backend("first", pulled.backend),
                fleet.gateway("tools", "tools"),
            )
        await scenario.until("Ready in its namespace", lambda: stage.ready("tools"), limit_s=240)
        untouched = await outside.get("virtualmcpserver", "tools")
        assert untouched is not None
        assert "status" not in untouched
        assert await outside.get("deployment", "tools") is None
        events = while_installed(cluster.audited(scoped.account), scoped.installed)
        places = {event["objectRef"].get("namespace", "the cluster") for event in events if "objectRef" in event}
        scenario.note("calls audited", len(events), "")
        assert places <= {stage.namespace, home}, places
        assert not refused(events), sorted(refused(events))
    finally:
        scoped.uninstall()
        cluster.kubectl("delete", "namespace", home, outside.namespace, "--wait=false")
        operator.install(values)
