"""The rules of `config.aggregation`: who is shown, as what, and who keeps a name that two want."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmcp.api.aggregation import Aggregation
from vmcp.gateway.listing import Item, Listed
from vmcp.gateway.naming import Target
from vmcp.gateway.rules import Rules

BACKENDS = ["a", "a_b", "b", "c"]
# Few letters, so that names, prefixes and overrides meet often.
name = st.text(alphabet="ab_", min_size=1, max_size=4)
overrides = st.dictionaries(name, st.fixed_dictionaries({}, optional={"name": name}), max_size=3)
entries = st.fixed_dictionaries(
    {"workload": st.sampled_from(BACKENDS)},
    optional={"excludeAll": st.booleans(), "filter": st.lists(name, max_size=3), "overrides": overrides},
)
aggregations = st.fixed_dictionaries(
    {"conflictResolution": st.sampled_from(["prefix", "priority", "manual"])},
    optional={
        "conflictResolutionConfig": st.fixed_dictionaries(
            {},
            optional={
                "prefixFormat": st.sampled_from(["", "{workload}_", "{workload}.", "x_", "{workload}"]),
                "priorityOrder": st.lists(st.sampled_from([*BACKENDS, "gone"]), unique=True),
            },
        ),
        "defaultToolVisibility": st.sampled_from(["allow", "deny"]),
        "excludeAllTools": st.booleans(),
        "tools": st.lists(entries, max_size=3, unique_by=lambda entry: str(entry["workload"])),
    },
)
targets = st.lists(st.tuples(st.sampled_from(BACKENDS), name), max_size=25, unique=True)


def rules(**aggregation: Any) -> Rules:
    return Rules.of(Aggregation.model_validate(aggregation))


def ranked(judged: Rules, items: list[Target]) -> list[Target]:
    return [item for backend in judged.ranked({each[0] for each in items}) for item in items if item[0] == backend]


def named(judged: Rules, *items: Target, listed: Listed = Listed.TOOLS) -> dict[str, Target]:
    return judged.names(listed, ranked(judged, list(items)))[0]


@given(aggregations, targets, st.sampled_from(Listed))
def test_every_item_has_one_name_or_is_left_out_or_hidden(
    aggregation: dict[str, Any], items: list[Target], listed: Listed
) -> None:
    judged = rules(**aggregation)
    names, left_out = judged.names(listed, ranked(judged, items))
    lost = [each.claim.target for each in left_out]
    hidden = [item for item in items if listed is Listed.TOOLS and not judged.shows(*item)]
    assert sorted([*names.values(), *lost, *hidden]) == sorted(items)
    for each in left_out:
        assert names[each.claim.public] == each.kept


@given(aggregations, targets, st.sampled_from(Listed), st.randoms(use_true_random=False))
def test_the_order_of_answers_changes_no_name(
    aggregation: dict[str, Any], items: list[Target], listed: Listed, rng: random.Random
) -> None:
    judged = rules(**aggregation)
    before, _ = judged.names(listed, ranked(judged, items))
    rng.shuffle(items)
    after, _ = judged.names(listed, ranked(judged, items))
    if listed in (Listed.TOOLS, Listed.PROMPTS):
        assert before == after
    else:
        # The same backend may list one URI once only.
        assert {uri: item[0] for uri, item in before.items()} == {uri: item[0] for uri, item in after.items()}


@given(aggregations, st.tuples(st.sampled_from(BACKENDS), name))
def test_a_backend_is_known_by_prefix_or_override_before_it_listed(aggregation: dict[str, Any], item: Target) -> None:
    judged = rules(**aggregation)
    prefixed = judged.resolution == "prefix" and judged.prefix_format
    for public in named(judged, item):
        assert judged.may_own(Listed.TOOLS, item[0], public) or not prefixed
    hidden = rules(**aggregation | {"excludeAllTools": True})
    assert not any(hidden.may_own(Listed.TOOLS, item[0], public) for public in named(judged, item))


def test_priority_keeps_the_first_backends_tool_and_then_goes_by_name() -> None:
    judged = rules(conflictResolution="priority", conflictResolutionConfig={"priorityOrder": ["c", "b"]})
    assert judged.ranked(["a", "b", "c", "d"]) == ["c", "b", "a", "d"]
    names = named(judged, ("a", "x"), ("b", "x"), ("c", "x"), ("a", "y"), ("d", "y"), ("d", "z"))
    assert names == {"x": ("c", "x"), "y": ("a", "y"), "z": ("d", "z")}


def test_priority_counts_for_what_has_no_rule_of_its_own() -> None:
    judged = rules(conflictResolution="priority", conflictResolutionConfig={"priorityOrder": ["b"]})
    assert named(judged, ("a", "demo://x"), ("b", "demo://x"), listed=Listed.RESOURCES) == {
        "demo://x": ("b", "demo://x")
    }


def test_an_override_keeps_its_name_against_a_tool_that_happens_to_have_it() -> None:
    tools = [{"workload": "b", "overrides": {"find": {"name": "search"}}}]
    manual = rules(conflictResolution="manual", tools=tools)
    assert named(manual, ("a", "search"), ("b", "find")) == {"search": ("b", "find")}
    priority = rules(conflictResolution="priority", conflictResolutionConfig={"priorityOrder": ["a"]}, tools=tools)
    assert named(priority, ("a", "search"), ("b", "find")) == {"search": ("a", "search")}
    assert named(priority, ("b", "search"), ("b", "find")) == {"search": ("b", "find")}


def test_an_override_is_prefixed_like_any_other_name() -> None:
    judged = rules(tools=[{"workload": "b", "overrides": {"find": {"name": "search"}}}])
    assert named(judged, ("b", "find"), ("b", "other")) == {"b_search": ("b", "find"), "b_other": ("b", "other")}


def test_prompts_that_meet_tell_their_backend_and_none_is_lost() -> None:
    judged = rules(conflictResolution="manual")
    names = named(judged, ("a", "greet"), ("b", "greet"), ("b", "bye"), listed=Listed.PROMPTS)
    assert names == {"a_greet": ("a", "greet"), "b_greet": ("b", "greet"), "bye": ("b", "bye")}


@pytest.mark.parametrize(
    ("aggregation", "shown"),
    [
        ({}, "a.x a.y b.x"),
        ({"excludeAllTools": True, "tools": [{"workload": "a", "filter": ["x"]}]}, ""),
        ({"tools": [{"workload": "a", "filter": ["x"]}]}, "a.x b.x"),
        ({"tools": [{"workload": "a", "filter": []}]}, "a.x a.y b.x"),
        ({"tools": [{"workload": "a", "excludeAll": True, "filter": ["x"]}]}, "b.x"),
        ({"defaultToolVisibility": "deny"}, ""),
        ({"defaultToolVisibility": "deny", "tools": [{"workload": "a"}]}, "a.x a.y"),
        ({"defaultToolVisibility": "allow", "tools": [{"workload": "a", "filter": ["z"]}]}, "b.x"),
        # By the name that the backend gives, not by the one that is shown.
        ({"tools": [{"workload": "a", "filter": ["q"], "overrides": {"x": {"name": "q"}}}]}, "b.x"),
    ],
)
def test_who_is_shown(aggregation: dict[str, Any], shown: str) -> None:
    judged = rules(**aggregation, conflictResolutionConfig={"prefixFormat": "{workload}."})
    items = (("a", "x"), ("a", "y"), ("b", "x"))
    assert sorted(named(judged, *items)) == shown.split()
    assert len(named(judged, *items, listed=Listed.PROMPTS)) == 3


def test_a_hidden_tool_takes_no_name() -> None:
    judged = rules(conflictResolution="manual", tools=[{"workload": "a", "filter": ["other"]}])
    assert named(judged, ("a", "search"), ("b", "search")) == {"search": ("b", "search")}


def test_description_and_hints_are_replaced_and_the_rest_is_the_backends() -> None:
    override = {"description": "d", "annotations": {"readOnlyHint": False, "title": "T"}}
    judged = rules(tools=[{"workload": "a", "overrides": {"x": override}}])
    item = Item("x", b'{"name":"x","inputSchema":{},"annotations":{"readOnlyHint":true,"own":1.0},"_meta":{}}')
    shown = item.shown_as("name", "a_x", judged.members(Listed.TOOLS, "a", item))
    assert json.loads(shown) == {
        "name": "a_x",
        "inputSchema": {},
        "annotations": {"readOnlyHint": False, "own": 1.0, "title": "T"},
        "_meta": {},
        "description": "d",
    }
    assert judged.members(Listed.PROMPTS, "a", item) == {}
    assert judged.members(Listed.TOOLS, "b", item) == {}


def test_hints_that_are_no_object_are_replaced() -> None:
    judged = rules(tools=[{"workload": "a", "overrides": {"x": {"annotations": {"openWorldHint": True}}}}])
    item = Item("x", b'{"name":"x","annotations":null}')
    assert bytes(judged.members(Listed.TOOLS, "a", item)["annotations"]) == b'{"openWorldHint":true}'
