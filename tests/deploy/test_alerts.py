"""Alerts fire when they should, and alerts and dashboard ask for metrics that exist."""

import json
import re
import subprocess
from pathlib import Path

import yaml

from vmcp_dev import versions
from vmcp_dev.tools import find_tool

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "alerts"
DASHBOARD = ROOT / "deploy" / "dashboards" / "vmcp.json"
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([find_tool("promtool"), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dashboard_expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def alert_expressions() -> dict[str, str]:
    groups = yaml.safe_load((ALERTS / "vmcp.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def metric_names() -> set[str]:
    """As the documents name them, with what Prometheus adds to histograms."""
    documents = [(ROOT / "docs" / name).read_text() for name in ("metrics.md", "gateway.md")]
    names = {name for text in documents for name in re.findall(r"`(vmcp_[a-z_]+)`", text)}
    return names | {f"{name}_bucket" for name in names} | PROCESS


def test_alert_rules_are_well_formed() -> None:
    assert "SUCCESS" in promtool("check", "rules", ALERTS / "vmcp.yaml")


def test_alerts_fire_when_they_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", ALERTS / "vmcp.test.yaml")


def test_every_alert_is_seen_to_fire() -> None:
    tests = yaml.safe_load((ALERTS / "vmcp.test.yaml").read_text())["tests"]
    fired = {
        name
        for test in tests
        for each in test["promql_expr_test"]
        if each["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', each["expr"])
    }
    assert fired == alert_expressions().keys()


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(dashboard_expressions())
    ]
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", "--lint=none", file)


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    known = metric_names()
    for expression in [*dashboard_expressions(), *alert_expressions().values()]:
        for name in re.findall(r"\b(?:vmcp|process)_[a-z_]+\b", expression):
            assert name in known, f"{name} in {expression}"


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_tools_are_built_at_the_versions_of_their_modules() -> None:
    modules = {"helm": "helm.sh/helm/v4", "promtool": "github.com/prometheus/prometheus"}
    for name, module in modules.items():
        pinned = (ROOT / "dev" / "vmcp_dev" / "gomod" / name / "go.mod").read_text()
        assert re.search(rf"^\s*(?:require )?{re.escape(module)} {re.escape(versions.TOOLS[name])}\b", pinned, re.M)
