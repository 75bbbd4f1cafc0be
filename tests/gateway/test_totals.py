"""The metrics of several workers are those of one gateway."""

from prometheus_client.parser import text_string_to_metric_families

from vmcp.gateway.metrics import Metrics
from vmcp.gateway.workers.totals import summed, without_gauges


def worker(calls: int, sessions: int) -> bytes:
    metrics = Metrics()
    metrics.observe(sessions=lambda: sessions, usable=lambda: 2, out=lambda: 1)
    metrics.flipped("a")
    for _ in range(calls):
        metrics.called("a", "tools/call", "ok", 0.02)
    return metrics.exposition()


def series(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """As Prometheus reads it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


CALLS = ("vmcp_gateway_calls_total", (("backend", "a"), ("method", "tools/call"), ("outcome", "ok")))


def test_what_each_worker_counts_adds_up_and_what_each_sees_does_not() -> None:
    total = series(summed([worker(3, 5), worker(4, 6)]))
    assert total[CALLS] == 7
    assert total[("vmcp_gateway_sessions", ())] == 11
    assert total[("vmcp_gateway_backends", (("usable", "true"),))] == 2
    assert total[("vmcp_gateway_flips_total", (("backend", "a"),))] == 1
    duration = "vmcp_gateway_call_duration_seconds"
    labels = (("backend", "a"), ("method", "tools/call"))
    assert total[(f"{duration}_count", labels)] == 7
    assert total[(f"{duration}_bucket", (("backend", "a"), ("le", "+Inf"), ("method", "tools/call")))] == 7
    assert round(total[(f"{duration}_sum", labels)], 6) == 0.14


def test_the_total_of_one_is_that_one() -> None:
    one = worker(3, 5)
    assert series(summed([one])) == series(one)
    assert series(summed([one, b""])) == series(one)


def test_of_a_worker_that_ended_its_counts_stay_and_its_gauges_do_not() -> None:
    total = series(summed([worker(3, 5), without_gauges(worker(4, 6))]))
    assert total[CALLS] == 7
    assert total[("vmcp_gateway_sessions", ())] == 5
