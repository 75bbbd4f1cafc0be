"""Taking over from ToolHive's operator, whose objects and CRDs are there already."""

import json

from e2e import fleet
from e2e.conftest import Images
from e2e.fleet import Manifest
from e2e.kind import Kind
from e2e.release import Release, Values
from e2e.scenario import Scenario
from e2e.stage import Stage
from e2e.waiting import until

_GROUP_FINALIZER = "toolhive.stacklok.dev/mcpgroup-finalizer"
_SERVER_FINALIZER = "mcpserver.toolhive.stacklok.dev/finalizer"


async def test_migration_from_toolhive(
    stage: Stage, cluster: Kind, pulled: Images, operator: Release, values: Values, scenario: Scenario
) -> None:
    operator.uninstall()
    await stage.apply(
        _finalized(fleet.group("old"), _GROUP_FINALIZER),
        _finalized(fleet.server("gone", "old", pulled.backend), _SERVER_FINALIZER),
        fleet.group("tools"),
        fleet.entry("first", "tools", stage.namespace),
        fleet.gateway("tools", "tools"),
    )
    await stage.backend("first", pulled.backend)
    theirs = await _their_deployment(stage, pulled)

    operator.install({**values, "crds": {"install": False}})
    assert "CustomResourceDefinition" not in {obj["kind"] for obj in operator.objects()}

    await scenario.until("Ready=False/ForeignController", lambda: _reason(stage, "ForeignController"), limit_s=90)
    untouched = await stage.get("deployment", "tools")
    assert untouched is not None
    assert untouched["spec"] == theirs["spec"]

    for kind, name in (("mcpserver", "gone"), ("mcpgroup", "old")):
        await stage.kubectl("delete", kind, name, "--wait=false")

        async def removed(kind: str = kind, name: str = name) -> bool:
            return await stage.get(kind, name) is None

        await scenario.until(f"deleted {kind} is let go", removed, limit_s=60)

    await stage.kubectl("delete", "deployment", "tools")
    await scenario.until("their Deployment gone: ours is Ready", lambda: stage.ready("tools"), limit_s=240)
    await until("first in use", lambda: stage.is_closed("tools", "first"), limit_s=60)
    operator.install(values)


def _finalized(manifest: Manifest, finalizer: str) -> Manifest:
    return manifest | {"metadata": manifest["metadata"] | {"finalizers": [finalizer]}}


async def _their_deployment(stage: Stage, pulled: Images) -> Manifest:
    """The gateway's Deployment as ToolHive's operator has made it."""
    owner = await stage.get("virtualmcpserver", "tools")
    assert owner is not None
    labels = {"app.kubernetes.io/name": "virtualmcpserver", "app.kubernetes.io/instance": "tools"}
    deployment, _ = fleet.backend("tools", pulled.backend)
    deployment["metadata"] |= {
        "namespace": stage.namespace,
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": fleet.API_VERSION,
                "kind": "VirtualMCPServer",
                "name": "tools",
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    deployment["spec"]["selector"]["matchLabels"] = labels
    deployment["spec"]["template"]["metadata"]["labels"] = labels
    stage.kind.kubectl(
        "apply", "--server-side", "--field-manager=thv-operator", "--filename=-", stdin=json.dumps(deployment)
    )

    async def stored() -> Manifest | None:
        return await stage.get("deployment", "tools")

    made = await until("their Deployment is stored", stored, limit_s=30)
    assert made is not None
    return made


async def _reason(stage: Stage, wanted: str) -> bool:
    ready = await stage.condition("tools", "Ready")
    return ready is not None and ready.status == "False" and ready.reason == wanted
