"""Whose reconcile an event asks for."""

import pytest
from tests.reconcile.objects import JsonObject, entry, gate, group, server

from vmcp.api.kinds import MCP_GROUP, MCP_SERVER, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER, Kind
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, POD
from vmcp.reconcile.affected import affected
from vmcp.reconcile.cache import Cache
from vmcp.reconcile.names import owner_reference


def elsewhere(obj: JsonObject, name: str) -> JsonObject:
    """The same in another namespace."""
    return obj | {"metadata": obj["metadata"] | {"namespace": "elsewhere", "name": name}}


@pytest.fixture
def cache() -> Cache:
    """Two VirtualMCPServers of the group `team`, one of `others`, one in another namespace."""
    cache = Cache()
    for owner in (gate("one"), gate("two"), gate("three", groupRef={"name": "others"}), elsewhere(gate(), "four")):
        cache.put(VIRTUAL_MCP_SERVER, owner)
    cache.put(MCP_SERVER_ENTRY, entry("remote"))
    cache.put(MCP_SERVER, server("search"))
    return cache


def asked(kind: Kind, obj: JsonObject, cache: Cache) -> set[str]:
    return {str(key) for key in affected(kind, obj, cache)}


GATES = {"virtualmcpservers/prod/one", "virtualmcpservers/prod/two"}
TEAM = {"mcpgroups/prod/team"}


def test_a_virtual_mcp_server_concerns_itself(cache: Cache) -> None:
    assert asked(VIRTUAL_MCP_SERVER, gate("one"), cache) == {"virtualmcpservers/prod/one"}


def test_a_group_concerns_itself_those_who_serve_it_and_the_entries_that_name_it(cache: Cache) -> None:
    assert asked(MCP_GROUP, group(), cache) == GATES | TEAM | {"mcpserverentries/prod/remote"}


def test_a_server_concerns_its_group_and_those_who_serve_it(cache: Cache) -> None:
    assert asked(MCP_SERVER, server("search"), cache) == GATES | TEAM


def test_an_entry_concerns_itself_as_well(cache: Cache) -> None:
    assert asked(MCP_SERVER_ENTRY, entry("new"), cache) == GATES | TEAM | {"mcpserverentries/prod/new"}


def test_a_member_that_moved_concerns_both_groups(cache: Cache) -> None:
    before, after = server("search"), server("search") | {"spec": {"groupRef": {"name": "others"}}}
    concerned = asked(MCP_SERVER, before, cache) | asked(MCP_SERVER, after, cache)
    assert concerned == GATES | TEAM | {"mcpgroups/prod/others", "virtualmcpservers/prod/three"}


def test_a_server_without_a_group_concerns_nobody(cache: Cache) -> None:
    assert asked(MCP_SERVER, server("search") | {"spec": {"image": "x"}}, cache) == set()


@pytest.mark.parametrize("kind", [DEPLOYMENT, CONFIG_MAP])
def test_an_owned_object_concerns_its_owner_whatever_its_label_says(cache: Cache, kind: Kind) -> None:
    labels = {"app.kubernetes.io/instance": "two"}
    owned = {
        "metadata": {
            "name": "x",
            "namespace": "prod",
            "labels": labels,
            "ownerReferences": [owner_reference(gate("one"))],
        }
    }
    assert asked(kind, owned, cache) == {"virtualmcpservers/prod/one"}


def test_a_pod_concerns_the_one_that_its_label_names(cache: Cache) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "one-5d4", "uid": "u", "controller": True}
    labels = {"app.kubernetes.io/instance": "one"}
    pod = {"metadata": {"name": "x", "namespace": "prod", "labels": labels, "ownerReferences": [owner]}}
    assert asked(POD, pod, cache) == {"virtualmcpservers/prod/one"}


def test_an_object_of_nobody_concerns_nobody(cache: Cache) -> None:
    assert asked(CONFIG_MAP, {"metadata": {"name": "x", "namespace": "prod"}}, cache) == set()
