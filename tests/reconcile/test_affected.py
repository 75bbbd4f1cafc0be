"""Whose reconcile an event asks for."""

import pytest
from tests.reconcile.objects import JsonObject, entry, gate, group, proxy, server

from vmcp.api.kinds import MCP_GROUP, MCP_REMOTE_PROXY, MCP_SERVER, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER, Kind
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
    cache.put(MCP_REMOTE_PROXY, proxy("far"))
    cache.put(MCP_SERVER, server("search"))
    return cache


def asked(kind: Kind, obj: JsonObject, cache: Cache) -> set[str]:
    return {str(key) for key in affected(kind, obj, cache)}


GATES = {"virtualmcpservers/prod/one", "virtualmcpservers/prod/two"}
TEAM = {"mcpgroups/prod/team"}
SEARCH = {"mcpservers/prod/search"}


def test_a_virtual_mcp_server_concerns_itself(cache: Cache) -> None:
    assert asked(VIRTUAL_MCP_SERVER, gate("one"), cache) == {"virtualmcpservers/prod/one"}


def test_a_group_concerns_itself_those_who_serve_it_and_the_members_that_name_it(cache: Cache) -> None:
    named = {"mcpserverentries/prod/remote", "mcpremoteproxies/prod/far"}
    assert asked(MCP_GROUP, group(), cache) == GATES | TEAM | named


def test_a_server_concerns_itself_its_group_and_those_who_serve_it(cache: Cache) -> None:
    assert asked(MCP_SERVER, server("search"), cache) == GATES | TEAM | SEARCH


def test_an_entry_concerns_itself_as_well(cache: Cache) -> None:
    assert asked(MCP_SERVER_ENTRY, entry("new"), cache) == GATES | TEAM | {"mcpserverentries/prod/new"}


def test_a_remote_proxy_concerns_itself_as_well(cache: Cache) -> None:
    assert asked(MCP_REMOTE_PROXY, proxy("new"), cache) == GATES | TEAM | {"mcpremoteproxies/prod/new"}


def test_a_member_that_moved_concerns_both_groups(cache: Cache) -> None:
    before, after = server("search"), server("search") | {"spec": {"groupRef": {"name": "others"}}}
    concerned = asked(MCP_SERVER, before, cache) | asked(MCP_SERVER, after, cache)
    assert concerned == GATES | TEAM | SEARCH | {"mcpgroups/prod/others", "virtualmcpservers/prod/three"}


def test_a_server_without_a_group_concerns_itself_only(cache: Cache) -> None:
    assert asked(MCP_SERVER, server("search") | {"spec": {"image": "x"}}, cache) == SEARCH


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


@pytest.mark.parametrize(
    ("app", "plural"),
    [("virtualmcpserver", "virtualmcpservers"), ("mcpserver", "mcpservers"), ("mcpserver-proxy", "mcpservers")],
)
def test_a_pod_concerns_the_one_that_its_labels_name(cache: Cache, app: str, plural: str) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "one-5d4", "uid": "u", "controller": True}
    labels = {"app.kubernetes.io/name": app, "app.kubernetes.io/instance": "one"}
    pod = {"metadata": {"name": "x", "namespace": "prod", "labels": labels, "ownerReferences": [owner]}}
    assert asked(POD, pod, cache) == {f"{plural}/prod/one"}


def test_what_an_mcpserver_owns_concerns_it(cache: Cache) -> None:
    owned = {"metadata": {"name": "x", "namespace": "prod", "ownerReferences": [owner_reference(server("search"))]}}
    assert asked(DEPLOYMENT, owned, cache) == SEARCH


def test_an_object_of_nobody_concerns_nobody(cache: Cache) -> None:
    assert asked(CONFIG_MAP, {"metadata": {"name": "x", "namespace": "prod"}}, cache) == set()
