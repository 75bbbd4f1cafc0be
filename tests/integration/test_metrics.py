"""The operator's own port and its log, as a cluster's tools read them."""

import json
from pathlib import Path

from tests.integration.stage import Stage, entry, eventually, gateway, group, mcp_backends
from tests.integration.twin import Twin

from vmcp_dev.controlplane import ControlPlane


def test_what_happens_to_a_backend_is_counted_and_logged_as_one_json_line(
    control_plane: ControlPlane, stage: Stage, tmp_path: Path
) -> None:
    twin = Twin(control_plane.kubeconfig, stage, tmp_path / "operator.log", "--log-format=json")
    try:
        with mcp_backends("alpha") as backends:
            stage.apply(group(), entry("alpha", backends["alpha"].url), gateway())
            eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
            assert eventually(twin.leads), "who does not elect leads"
            assert twin.answer("/healthz") == (200, "ok\n")
            backends["alpha"].kill()
            eventually(lambda: stage.backend("front", "alpha")["circuitBreakerState"] == "open")
        samples = eventually(lambda: (m := twin.metrics())["vmcp_status_writes_total{cause=news}"] >= 2 and m)
        series = f"vmcp_backend_circuit_state{{backend=alpha,name=front,namespace={stage.namespace}}}"
        assert samples[series] in (1, 2)
        assert samples["vmcp_transitions_total{from=closed,to=open}"] == 1
        assert samples["vmcp_probe_results_total{category=ok}"] > 0
        assert samples["vmcp_probe_results_total{category=connect}"] >= 2
        assert samples["vmcp_targets{}"] == 1
        assert samples["vmcp_reconciles_total{result=ok}"] > 0
        assert 0 <= samples["vmcp_watch_age_seconds{}"] < 120
    finally:
        twin.process.stop(20)
    lines = [json.loads(line) for line in twin.log.read_text().splitlines()]
    moved = [line for line in lines if line.get("from") == "closed"]
    assert len(moved) == 1
    assert (moved[0]["namespace"], moved[0]["name"], moved[0]["backend"]) == (stage.namespace, "front", "alpha")
    assert moved[0]["to"] == "open"
