"""A steady fleet writes nothing."""

import json
import time

from tests.integration.stage import (
    OperatorProcess,
    Stage,
    entry,
    eventually,
    gateway,
    group,
    mcp_backends,
    with_handling,
)

KINDS = "vmcp,mcpgroup,mcpserverentry,deployment,service,configmap,serviceaccount,role,rolebinding,secret,events"


def _versions(stage: Stage) -> dict[str, str]:
    items = stage.every(KINDS)
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}


def _settled(stage: Stage) -> dict[str, str]:
    """The versions, once other controllers have had their say too."""

    def look() -> dict[str, str]:
        before = _versions(stage)
        time.sleep(3)
        return before if _versions(stage) == before else {}

    return eventually(look)


def test_a_second_reconcile_and_ten_quiet_rounds_of_checks_leave_every_version_as_it_is(
    stage: Stage, operator: OperatorProcess
) -> None:
    with mcp_backends("alpha", "beta") as backends:
        manifest = with_handling(gateway(), healthCheckInterval="1500ms", healthCheckTimeout="1499ms")
        entries = [entry(name, backend.url) for name, backend in backends.items()]
        stage.apply(group(), *entries, manifest)
        eventually(lambda: [b["status"] for b in stage.status("front")["discoveredBackends"]] == ["ready", "ready"])
        eventually(lambda: stage.get("deployment", "front")["status"].get("replicas") == 1)
        before = _settled(stage)
        assert "Deployment/front" in before
        # A label on an owned object asks for a reconcile; it is foreign, so it stays and nothing else is written.
        stage.patch("service", "vmcp-front", {"metadata": {"labels": {"touched": "yes"}}})
        time.sleep(16)
        after = _versions(stage)
        changed = {name for name in before if before[name] != after.get(name)}
        assert changed == {"Service/vmcp-front"}, json.dumps(sorted(changed))
        assert after.keys() == before.keys()
        assert stage.get("service", "vmcp-front")["metadata"]["labels"]["touched"] == "yes"
