"""A restart of the operator changes nothing, and nothing depends on it being there."""

import time
from datetime import datetime

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

LONG_OPEN = {"circuitBreaker": {"enabled": True, "failureThreshold": 2, "timeout": "10m"}}


def _open(stage: Stage, name: str = "front") -> bool:
    return bool(stage.backend(name, "alpha")["circuitBreakerState"] == "open")


def test_an_open_circuit_stays_open_until_the_same_moment_over_a_restart(
    stage: Stage, operator: OperatorProcess
) -> None:
    with mcp_backends("alpha") as backends:
        stage.apply(group(), entry("alpha", backends["alpha"].url), with_handling(gateway(), **LONG_OPEN))
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        backends["alpha"].kill()
        eventually(lambda: _open(stage))
        before = stage.backend("front", "alpha")
        operator.kill()
        backends["alpha"].start()
        operator.start()
        _reconciled_again(stage)
        after = stage.backend("front", "alpha")
        assert after["circuitBreakerState"] == "open"
        assert after["transitions"] == before["transitions"]
        drift = _instant(after["circuitOpenUntil"]) - _instant(before["circuitOpenUntil"])
        assert abs(drift) < 2.0


def test_an_open_time_that_ended_while_the_operator_was_down_is_tried_at_once(
    stage: Stage, operator: OperatorProcess
) -> None:
    with mcp_backends("alpha") as backends:
        stage.apply(group(), entry("alpha", backends["alpha"].url), gateway())
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        backends["alpha"].kill()
        eventually(lambda: _open(stage))
        operator.kill()
        backends["alpha"].start()
        operator.start()
        eventually(lambda: stage.backend("front", "alpha")["circuitBreakerState"] == "closed")
        trail = [(step["from"], step["to"]) for step in stage.backend("front", "alpha")["transitions"]]
        assert trail[0] == ("closed", "open")
        assert trail[-1] == ("half-open", "closed")


def test_an_operator_killed_in_the_middle_of_reconciling_leaves_nothing_half_done(
    stage: Stage, operator: OperatorProcess
) -> None:
    for number in range(6):
        stage.apply(group(), gateway(f"front-{number}"))
        time.sleep(0.03 * number)
        operator.restart()
    for number in range(6):
        name = f"front-{number}"
        eventually(lambda name=name: stage.exists("deployment", name))  # type: ignore[misc]
        eventually(lambda name=name: stage.status(name)["observedGeneration"] == 1)  # type: ignore[misc]
        for kind, owned in (
            ("service", f"vmcp-{name}"),
            ("configmap", f"{name}-vmcp-config"),
            ("role", f"{name}-vmcp"),
        ):
            assert stage.exists(kind, owned)


def test_an_object_deleted_while_the_operator_is_down_is_gone_at_once_with_all_it_owned(
    stage: Stage, operator: OperatorProcess
) -> None:
    stage.apply(group(), gateway())
    eventually(lambda: stage.exists("deployment", "front"))
    operator.kill()
    stage.kubectl("-n", stage.namespace, "delete", "vmcp", "front", "--timeout=60s")
    eventually(lambda: not stage.exists("deployment", "front") and not stage.exists("service", "vmcp-front"))
    operator.start()


def test_an_object_made_anew_under_the_same_name_starts_afresh(stage: Stage, operator: OperatorProcess) -> None:
    with mcp_backends("alpha") as backends:
        manifest = with_handling(gateway(), **LONG_OPEN)
        stage.apply(group(), entry("alpha", backends["alpha"].url), manifest)
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        backends["alpha"].kill()
        eventually(lambda: _open(stage))
        first = stage.get("vmcp", "front")["metadata"]["uid"]
        backends["alpha"].start()
        stage.delete("vmcp", "front")
        stage.apply(manifest)
        second = stage.get("vmcp", "front")["metadata"]["uid"]
        assert second != first
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        eventually(lambda: stage.get("deployment", "front")["metadata"]["ownerReferences"][0]["uid"] == second)
        assert "transitions" not in stage.backend("front", "alpha")


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _reconciled_again(stage: Stage) -> None:
    """The restarted operator has seen the object: it answers a change of its spec."""
    stage.patch("vmcp", "front", {"spec": {"sessionAffinity": "None"}})
    generation = stage.get("vmcp", "front")["metadata"]["generation"]
    eventually(lambda: stage.status("front")["observedGeneration"] == generation)
