"""Whether another operator runs a workload is told by who holds the image of its container."""

from typing import Any

import pytest

from vmcp.reconcile.fieldmanagers import foreign_operator, last_writer

JsonObject = dict[str, Any]
IMAGE = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"vmcp"}': {"f:image": {}}}}}}}
SIDECAR = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"mesh"}': {"f:image": {}}}}}}}
REPLICAS = {"f:spec": {"f:replicas": {}}}
STATUS = {"f:status": {"f:replicas": {}}}


def entry(manager: str, fields: JsonObject, *, subresource: str = "", time: str = "") -> JsonObject:
    made = {"manager": manager, "operation": "Update", "fieldsV1": fields, "time": time}
    return made | ({"subresource": subresource} if subresource else {})


def workload(*entries: JsonObject) -> JsonObject:
    return {"metadata": {"name": "gate", "managedFields": list(entries)}}


OURS = entry("vmcp-operator", IMAGE)


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (OURS,),
        (OURS, entry("kube-controller-manager", STATUS, subresource="status")),
        (OURS, entry("kubectl", REPLICAS, subresource="scale")),
        (OURS, entry("mesh-injector", SIDECAR)),
        (entry("vmcp-operator", REPLICAS), entry("kubectl-set", IMAGE)),
        (entry("vmcp-operator", REPLICAS), entry("keel", IMAGE)),
        (entry("kubectl-client-side-apply", IMAGE),),
        (OURS, entry("thv-operator", REPLICAS)),
    ],
)
def test_persons_scalers_sidecars_and_rivals_are_no_other_operator(entries: tuple[JsonObject, ...]) -> None:
    assert foreign_operator(workload(*entries)) == ""


@pytest.mark.parametrize("manager", ["thv-operator", "toolhive-operator"])
def test_toolhives_operator_is_one_even_where_we_have_applied(manager: str) -> None:
    assert foreign_operator(workload(entry("vmcp-operator", REPLICAS), entry(manager, IMAGE))) == manager


@pytest.mark.parametrize("manager", ["manager", "some-operator"])
def test_whoever_made_the_workload_before_us_is_one(manager: str) -> None:
    assert foreign_operator(workload(entry(manager, IMAGE))) == manager


def test_what_carries_no_managed_fields_is_ours() -> None:
    assert foreign_operator({"metadata": {"name": "gate"}}) == ""


def test_the_last_writer_is_neither_we_nor_the_cluster() -> None:
    obj = workload(
        entry("vmcp-operator", IMAGE, time="2026-01-01T00:00:09Z"),
        entry("kube-controller-manager", REPLICAS, time="2026-01-01T00:00:08Z"),
        entry("hpa", STATUS, subresource="status", time="2026-01-01T00:00:07Z"),
        entry("keel", IMAGE, time="2026-01-01T00:00:06Z"),
        entry("kubectl-edit", IMAGE, time="2026-01-01T00:00:05Z"),
    )
    assert last_writer(obj) == "keel"
    assert last_writer(workload(OURS)) == ""
