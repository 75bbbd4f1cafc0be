"""Two operators, one Lease: one works, the other takes over, and never do both write."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.integration.stage import Stage, entry, eventually, gateway, group, mcp_backends
from tests.integration.twin import Twin, lease, twins

from vmcp_dev.controlplane import ControlPlane


@pytest.fixture
def pair(control_plane: ControlPlane, stage: Stage, tmp_path: Path) -> Iterator[tuple[Twin, Twin]]:
    """Leader and follower. Whatever a test did to them, no traceback may be in their logs."""
    with twins(control_plane.kubeconfig, stage, tmp_path, "one", "two") as (one, two):
        eventually(lambda: sorted([one.leads(), two.leads()]) == [False, True])
        leader, follower = (one, two) if one.leads() else (two, one)
        eventually(follower.follows)
        yield leader, follower
        for twin in (one, two):
            assert "Traceback" not in twin.log.read_text(), twin.log.read_text()


def _reconciled(stage: Stage, affinity: str) -> bool:
    """Somebody works: a change of the spec is answered."""
    stage.patch("vmcp", "front", {"spec": {"sessionAffinity": affinity}})
    generation = stage.get("vmcp", "front")["metadata"]["generation"]
    return bool(eventually(lambda: stage.status("front")["observedGeneration"] == generation))


def _between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_when_the_leader_is_killed_the_follower_works_within_twenty_seconds(
    pair: tuple[Twin, Twin], stage: Stage, control_plane: ControlPlane
) -> None:
    leader, follower = pair
    stage.apply(group(), gateway())
    assert eventually(lambda: stage.status("front")["observedGeneration"] == 1)
    assert control_plane.audit_log is not None
    # Both began at once: whoever is slower may have been refused to create the Lease, and no more than that.
    asked = [
        (each["objectRef"]["resource"], each["responseStatus"]["code"])
        for each in follower.writes(control_plane.audit_log)
    ]
    assert asked in ([], [("leases", 409)])
    told = follower.metrics()
    assert told["vmcp_leader{}"] == told["vmcp_targets{}"] == told["vmcp_reconciles_total{result=ok}"] == 0
    assert leader.metrics()["vmcp_leader{}"] == 1

    killed = datetime.now(UTC)
    leader.process.kill()
    assert leader.process.wait(10)
    last = lease(stage)
    eventually(follower.leads)
    spec = lease(stage)
    assert (datetime.fromisoformat(spec["acquireTime"]) - killed).total_seconds() < 20
    assert _between(last["renewTime"], spec["acquireTime"]) >= last["leaseDurationSeconds"]
    assert spec["leaseTransitions"] == 1
    assert _reconciled(stage, "None")


def test_a_leader_that_is_stopped_hands_over_without_waiting_for_the_lease_to_expire(
    pair: tuple[Twin, Twin], stage: Stage
) -> None:
    leader, follower = pair
    stage.apply(group(), gateway())
    assert eventually(lambda: stage.status("front")["observedGeneration"] == 1)
    leader.process.terminate()
    eventually(lambda: not leader.process.running)
    released = lease(stage)
    assert leader.process.exit_status == 0
    assert "released Lease" in leader.log.read_text()
    eventually(follower.leads)
    assert _between(released["renewTime"], lease(stage)["acquireTime"]) < 10
    assert _reconciled(stage, "None")


def test_a_leader_that_slept_over_its_lease_ends_itself_without_a_single_write(
    pair: tuple[Twin, Twin], stage: Stage, control_plane: ControlPlane
) -> None:
    leader, follower = pair
    assert control_plane.audit_log is not None
    with mcp_backends("alpha") as backends:
        stage.apply(group(), entry("alpha", backends["alpha"].url), gateway())
        eventually(lambda: stage.backend("front", "alpha")["status"] == "ready")
        leader.pause()
        eventually(follower.leads)
        # All that a woken leader would want to write: another generation, a dead backend, a lost child.
        assert _reconciled(stage, "None")
        backends["alpha"].kill()
        stage.delete("service", "vmcp-front")
        eventually(lambda: stage.backend("front", "alpha")["circuitBreakerState"] == "open")
        before = len(leader.writes(control_plane.audit_log))
        assert before > 0
        leader.resume()
        eventually(lambda: not leader.process.running)
        assert leader.process.exit_status == 1
        assert "another operator may work now" in leader.log.read_text()
        time.sleep(1)
        assert len(leader.writes(control_plane.audit_log)) == before
        eventually(follower.leads)


def test_a_lease_taken_by_somebody_else_ends_the_leader(pair: tuple[Twin, Twin], stage: Stage) -> None:
    leader, _ = pair
    (found,) = stage.every("lease")
    stage.patch(
        "lease", found["metadata"]["name"], {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 600}}
    )
    eventually(lambda: not leader.process.running)
    assert leader.process.exit_status == 1
    assert "somebody holds the Lease" in leader.log.read_text()
