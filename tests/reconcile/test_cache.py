"""What the watches have shown, found again by group and by instance, and put right by a list."""

from typing import Any

from tests.reconcile.objects import NAMESPACE, JsonObject, entry, gate, server

from vmcp.api.kinds import MCP_SERVER, MCP_SERVER_ENTRY, VIRTUAL_MCP_SERVER
from vmcp.kube.kinds import POD
from vmcp.reconcile.cache import Cache, Key, group_of


def names(objects: list[JsonObject]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


def versioned(obj: JsonObject, version: str) -> JsonObject:
    return obj | {"metadata": obj["metadata"] | {"resourceVersion": version}}


def in_group(obj: JsonObject, group: str) -> JsonObject:
    return obj | {"spec": obj["spec"] | {"groupRef": {"name": group}}}


def holding(*objects: JsonObject) -> Cache:
    cache = Cache()
    for obj in objects:
        cache.put(MCP_SERVER, obj)
    return cache


def test_an_object_is_found_as_last_put() -> None:
    cache = holding(server("a"))
    before = cache.put(MCP_SERVER, versioned(server("a"), "2"))
    assert before is not None
    assert before["metadata"]["resourceVersion"] == "1"
    found = cache.get(MCP_SERVER, NAMESPACE, "a")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "2"
    assert cache.get(MCP_SERVER_ENTRY, NAMESPACE, "a") is None
    assert cache.get(MCP_SERVER, "elsewhere", "a") is None


def test_members_of_a_group_are_found_by_kind_and_sorted() -> None:
    cache = holding(server("b"), server("a"), in_group(server("c"), "others"))
    cache.put(MCP_SERVER_ENTRY, entry("d"))
    assert names(cache.in_group(MCP_SERVER, NAMESPACE, "team")) == ["a", "b"]
    assert names(cache.in_group(MCP_SERVER_ENTRY, NAMESPACE, "team")) == ["d"]
    assert cache.in_group(MCP_SERVER, "elsewhere", "team") == []


def test_a_member_that_changes_its_group_leaves_the_first() -> None:
    cache = holding(server("a"))
    cache.put(MCP_SERVER, in_group(server("a"), "others"))
    assert cache.in_group(MCP_SERVER, NAMESPACE, "team") == []
    assert names(cache.in_group(MCP_SERVER, NAMESPACE, "others")) == ["a"]


def test_a_dropped_object_is_found_nowhere() -> None:
    cache = holding(server("a"))
    key = Key.of(MCP_SERVER, server("a"))
    assert cache.drop(key) is not None
    assert cache.drop(key) is None
    assert cache.get(MCP_SERVER, NAMESPACE, "a") is None
    assert cache.in_group(MCP_SERVER, NAMESPACE, "team") == []
    assert cache.all(MCP_SERVER) == []


def test_pods_are_found_by_the_instance_that_their_label_names() -> None:
    cache = Cache()
    labels = {"app.kubernetes.io/name": "virtualmcpserver", "app.kubernetes.io/instance": "gate"}
    cache.put(POD, {"metadata": {"name": "gate-2", "namespace": NAMESPACE, "labels": labels}})
    cache.put(POD, {"metadata": {"name": "gate-1", "namespace": NAMESPACE, "labels": labels}})
    cache.put(POD, {"metadata": {"name": "other", "namespace": NAMESPACE}})
    assert names(cache.of_instance(POD, NAMESPACE, "gate")) == ["gate-1", "gate-2"]


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    cache.put(MCP_SERVER, server("a") | {"metadata": {**server("a")["metadata"], "managedFields": [{}]}})
    found = cache.get(MCP_SERVER, NAMESPACE, "a")
    assert found is not None
    assert "managedFields" not in found["metadata"]


def test_garbage_names_no_group() -> None:
    garbage: list[Any] = [
        None,
        [],
        "x",
        {},
        {"groupRef": None},
        {"groupRef": "team"},
        {"groupRef": []},
        {"groupRef": {}},
    ]
    for spec in garbage:
        assert group_of({"spec": spec}) == ""
    assert group_of({}) == ""


def test_a_list_tells_what_is_gone_what_is_new_and_what_is_other() -> None:
    cache = holding(server("gone"), server("same"), in_group(server("moved"), "others"))
    cache.put(MCP_SERVER_ENTRY, entry("gone"))
    cache.begin_list()
    moved = cache.prune(MCP_SERVER, [server("new"), server("same"), versioned(server("moved"), "2")])
    told = sorted((obj["metadata"]["name"], group_of(obj)) for obj in moved)
    assert told == [("gone", "team"), ("moved", "others"), ("moved", "team"), ("new", "team")]
    assert names(cache.in_group(MCP_SERVER, NAMESPACE, "team")) == ["moved", "new", "same"]
    assert names(cache.all(MCP_SERVER_ENTRY)) == ["gone"]


def test_a_second_list_of_the_same_tells_nothing() -> None:
    cache = Cache()
    for expected in (1, 0):
        cache.begin_list()
        assert len(cache.prune(MCP_SERVER, [server("a")])) == expected


def test_what_a_watch_shows_while_a_list_is_read_is_newer_than_the_list() -> None:
    cache = holding(server("deleted"), server("changed"))
    cache.begin_list()
    listed = [server("deleted"), server("changed")]
    cache.put(MCP_SERVER, server("created"))
    cache.put(MCP_SERVER, versioned(server("changed"), "7"))
    cache.drop(Key.of(MCP_SERVER, server("deleted")))

    assert cache.prune(MCP_SERVER, listed) == []
    assert sorted(names(cache.all(MCP_SERVER))) == ["changed", "created"]
    changed = cache.get(MCP_SERVER, NAMESPACE, "changed")
    assert changed is not None
    assert changed["metadata"]["resourceVersion"] == "7"


def test_a_list_is_the_truth_again_for_what_was_shown_before_it_was_begun() -> None:
    cache = holding()
    cache.begin_list()
    cache.put(MCP_SERVER, server("a"))
    cache.prune(MCP_SERVER, [])
    cache.begin_list()
    assert names(cache.prune(MCP_SERVER, [])) == ["a"]


def test_objects_of_one_name_and_different_kinds_do_not_meet() -> None:
    cache = holding(server("gate"))
    cache.put(VIRTUAL_MCP_SERVER, gate())
    assert names(cache.in_group(VIRTUAL_MCP_SERVER, NAMESPACE, "team")) == ["gate"]
    assert names(cache.in_group(MCP_SERVER, NAMESPACE, "team")) == ["gate"]
