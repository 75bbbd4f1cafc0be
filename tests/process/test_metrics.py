"""The metrics: what the table says there is, with bounded labels."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from vmcp.api.category import ErrorCategory
from vmcp.handlers.queue import KeyedQueue
from vmcp.health.clock import SystemClock
from vmcp.health.monitor import Check, Monitor
from vmcp.health.outcome import Outcome
from vmcp.health.policy import HealthPolicy
from vmcp.health.snapshot import Circuit, Health, Snapshot
from vmcp.health.target import Target
from vmcp.process.measured import MeasuredCheck
from vmcp.process.metrics import BACKEND_SERIES_MAX, Metrics, Sources
from vmcp.status.events import EventStatistics
from vmcp.status.findings import DeploymentState, Findings
from vmcp.status.writer import Statistics

TABLE = Path(__file__).parents[2] / "docs" / "metrics.md"
TARGET = Target("alpha", "http://alpha/mcp", HealthPolicy())


class Shows(Check):
    def __init__(self, *categories: ErrorCategory | None) -> None:
        self.categories = list(categories)

    async def check(self, target: Target) -> Outcome:
        return Outcome(self.categories.pop(0))

    def forget(self, target: Target) -> None:
        pass


def found(name: str = "front") -> Findings:
    return Findings("prod", name, f"uid-{name}", generation=1, url="", deployment=DeploymentState.AVAILABLE)


def backend(name: str, circuit: Circuit = Circuit.CLOSED, health: Health = Health.HEALTHY) -> Snapshot:
    return Snapshot(name, f"http://{name}/mcp", name, health, circuit)


def metrics(objects: Sequence[tuple[Findings, Sequence[Snapshot]]] = (), check: MeasuredCheck | None = None) -> Metrics:
    measured = check or MeasuredCheck(Shows())
    monitor = Monitor(check=measured, changed=lambda change: None, clock=SystemClock())
    queue: KeyedQueue[str] = KeyedQueue()
    return Metrics(
        Sources(
            leading=lambda: True,
            objects=lambda: objects,
            scheduler=monitor.statistics,
            doubting=lambda: True,
            writer=lambda: Statistics(writes=7, heartbeats=2, suppressed=40),
            events=lambda: EventStatistics(stored=3, dropped=2),
            queue=queue.statistics,
            watch_age_s=lambda: 12.5,
            check=measured,
            transitions=Counter({(Circuit.CLOSED, Circuit.OPEN): 4}),
        )
    )


def scraped(source: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    text = source.page().body.decode()
    result: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            result.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return result


def test_the_table_in_the_docs_names_every_metric_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(vmcp_\w+)` \| (\w+) \| ([\w, ]*?) ?\| ", TABLE.read_text(), re.MULTILINE)
    documented = {name: (kind, labels.strip()) for name, kind, labels in rows}
    actual = {}
    for family in metrics([(found(), [backend("alpha")])]).families():
        if family.name.startswith("vmcp_"):
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels = list(dict.fromkeys(label for sample in family.samples for label in sample.labels))
            actual[family.name + suffix] = (family.type, ", ".join(labels))
    assert documented == actual


async def test_checks_are_counted_by_what_they_showed_and_timed() -> None:
    check = MeasuredCheck(Shows(None, None, ErrorCategory.TIMEOUT, ErrorCategory.CANCELLED))
    for _ in range(4):
        await check.check(TARGET)
    values = scraped(metrics(check=check))
    results = values["vmcp_probe_results_total"]
    assert results[(("category", "ok"),)] == 2
    assert results[(("category", "timeout"),)] == 1
    assert results[(("category", "cancelled"),)] == 1
    assert len(results) == len(ErrorCategory) + 1
    assert values["vmcp_probe_duration_seconds_count"][()] == 3
    assert values["vmcp_probe_duration_seconds_bucket"][(("le", "+Inf"),)] == 3


def test_what_the_parts_counted_is_shown() -> None:
    values = scraped(metrics())
    assert values["vmcp_status_writes_total"] == {(("cause", "news"),): 5, (("cause", "heartbeat"),): 2}
    assert values["vmcp_status_writes_suppressed_total"][()] == 40
    assert values["vmcp_events_total"][(("result", "dropped"),)] == 2
    assert values["vmcp_transitions_total"] == {(("from", "closed"), ("to", "open")): 4}
    assert values["vmcp_watch_age_seconds"][()] == 12.5
    assert values["vmcp_leader"][()] == 1
    assert values["vmcp_probing_doubted"][()] == 1
    assert values["process_open_fds"][()] > 0


def test_each_backend_has_its_circuit_and_all_are_counted() -> None:
    objects = [
        (found("front"), [backend("a"), backend("b", Circuit.OPEN, Health.UNHEALTHY)]),
        (found("side"), [backend("a", Circuit.HALF_OPEN, Health.DEGRADED)]),
    ]
    values = scraped(metrics(objects))
    states = {
        (dict(labels)["name"], dict(labels)["backend"]): state
        for labels, state in values["vmcp_backend_circuit_state"].items()
    }
    assert states == {("front", "a"): 0, ("front", "b"): 2, ("side", "a"): 1}
    assert values["vmcp_backends"][(("circuit", "open"), ("health", "unhealthy"))] == 1
    assert sum(values["vmcp_backends"].values()) == 3


def test_of_too_many_backends_those_that_are_out_keep_their_series() -> None:
    many = [backend(f"b{number:05}") for number in range(BACKEND_SERIES_MAX + 50)]
    many.append(backend("zz", Circuit.OPEN, Health.UNHEALTHY))
    values = scraped(metrics([(found(), many)]))
    series = values["vmcp_backend_circuit_state"]
    assert len(series) == BACKEND_SERIES_MAX
    assert series[(("backend", "zz"), ("name", "front"), ("namespace", "prod"))] == 2
    assert values["vmcp_backend_series_omitted"][()] == 51
    assert sum(values["vmcp_backends"].values()) == BACKEND_SERIES_MAX + 51


def test_a_name_cannot_break_the_exposition() -> None:
    values = scraped(metrics([(found('quo"te'), [backend("new\nline")])]))
    assert len(values["vmcp_backend_circuit_state"]) == 1
