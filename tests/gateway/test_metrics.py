"""The gateway's metrics: what the table says there is, and counts that add up."""

import re
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from vmcp.gateway.metrics import Metrics

TABLE = Path(__file__).parents[2] / "docs" / "gateway.md"


def touched() -> Metrics:
    """With something in every family."""
    metrics = Metrics()
    metrics.observe(sessions=lambda: 1, usable=lambda: 1, out=lambda: 1)
    metrics.observe_connections(lambda: 3)
    metrics.observe_lists(["tools"], lambda: {"tools": 1}, lambda: {"tools": 0})
    metrics.called("alpha", "tools/call", "ok", 0.0007)
    metrics.flipped("alpha")
    metrics.opened_locally("alpha")
    metrics.listed("tools", cached=True)
    metrics.refused("host")
    return metrics


def families(metrics: Metrics) -> dict[str, Metric]:
    found = text_string_to_metric_families(metrics.exposition().decode())
    # Python's client adds when each counter was made.
    return {family.name: family for family in found if not family.name.endswith("_created")}


def test_the_table_in_the_docs_names_every_metric_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(vmcp_gateway_\w+)` \| (\w+) \| ([\w, ]*?) ?\| ", TABLE.read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in rows}
    actual = {}
    for family in families(touched()).values():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        suffix = "_total" if family.type == "counter" else ""
        actual[family.name + suffix] = (family.type, labels)
    assert documented == actual


def test_calls_are_counted_by_outcome_and_timed_where_a_backend_was_asked() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.001, 0.0011, 70.0):
        metrics.called("alpha", "tools/call", "ok", seconds)
    metrics.called("alpha", "tools/call", "unavailable", 0.0)
    found = families(metrics)
    counted = {sample.labels["outcome"]: sample.value for sample in found["vmcp_gateway_calls"].samples}
    assert counted == {"ok": 4, "unavailable": 1}
    samples = found["vmcp_gateway_call_duration_seconds"].samples
    buckets = {sample.labels["le"]: sample.value for sample in samples if "le" in sample.labels}
    assert [buckets[bound] for bound in ("0.001", "0.0025", "60.0", "+Inf")] == [2, 3, 3, 4]
    totals = {sample.name.rpartition("_")[2]: sample.value for sample in samples if "le" not in sample.labels}
    assert totals["count"] == 4
    assert abs(totals["sum"] - 70.0026) < 1e-9


def test_nothing_is_left_of_a_backend_that_is_configured_no_more() -> None:
    metrics = touched()
    metrics.forget("alpha")
    assert b"alpha" not in metrics.exposition()


def test_a_name_cannot_break_the_exposition() -> None:
    metrics = Metrics()
    metrics.called('quo"te', "new\nline", "ok", 0.1)
    (sample,) = families(metrics)["vmcp_gateway_calls"].samples
    assert (sample.labels["backend"], sample.labels["method"]) == ('quo"te', "new\nline")
