"""Public names are one to one with backends' own, valid, and the same whatever order backends answer in."""

import re
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from vmcp.gateway.naming import (
    DEFAULT_PREFIX_FORMAT,
    MAX_TOOL_NAME_CHARS,
    Claim,
    Target,
    keep_all,
    keep_first,
    prefix_of,
    prompt_name,
    tool_name,
)
from vmcp.gateway.uritemplate import matches

# Few letters, so that prefixes and names meet often.
meeting = st.text(alphabet="ab_", min_size=1, max_size=6)
anything = st.text(min_size=1, max_size=200)
formats = st.sampled_from(["{workload}_", "{workload}.", "{workload}", "", "x_", "{workload}{workload}"])


def claims(items: Iterable[Target], prefix_format: str = DEFAULT_PREFIX_FORMAT) -> list[Claim]:
    return [Claim(item, tool_name(prefix_of(item[0], prefix_format), item[1])) for item in sorted(items)]


@given(st.sets(st.tuples(meeting, meeting), max_size=30), formats)
def test_no_two_items_share_a_name_and_none_is_lost(items: set[Target], prefix_format: str) -> None:
    names = keep_all(claims(items, prefix_format))
    assert sorted(names.values()) == sorted(items)


@given(st.sets(st.tuples(meeting, meeting), max_size=30))
def test_where_only_the_first_is_kept_every_other_is_accounted_for(items: set[Target]) -> None:
    names, left_out = keep_first(Claim(item, item[1]) for item in sorted(items))
    assert sorted([*names.values(), *(each.claim.target for each in left_out)]) == sorted(items)
    for each in left_out:
        assert names[each.claim.public] == each.kept
        assert each.kept < each.claim.target


@given(st.sets(st.tuples(anything, anything), max_size=20))
def test_every_tool_name_is_valid(items: set[Target]) -> None:
    names = keep_all(claims(items))
    assert len(names) == len(items)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+", name)
        assert len(name) <= MAX_TOOL_NAME_CHARS


@given(anything, anything)
def test_a_prompt_keeps_its_name_behind_the_prefix(backend: str, own: str) -> None:
    assert prompt_name(prefix_of(backend, "{workload}/"), own) == f"{backend}/{own}"


def test_the_plain_form_is_prefix_and_name() -> None:
    items = {("a", "b_c"), ("a_b", "c"), ("a", "d")}
    names = keep_all(claims(items))
    assert names["a_b_c"] == ("a", "b_c")
    assert names["a_d"] == ("a", "d")
    (other,) = set(names) - {"a_b_c", "a_d"}
    assert names[other] == ("a_b", "c")
    assert re.fullmatch(r"a_b_c_[0-9a-f]{8}", other)


def test_templates_match_the_uris_that_they_stand_for() -> None:
    assert matches("demo://item/{id}", "demo://item/7")
    assert not matches("demo://item/{id}", "demo://item/7/8")
    assert not matches("demo://item/{id}", "demo://item/")
    assert matches("file:///{+path}", "file:///a/b/c")
    assert matches("demo://find{?q,n}", "demo://find?q=1&n=2")
    assert matches("demo://find{?q,n}", "demo://find")
    assert matches("a.b/{x}/c{y}", "a.b/1/c2")
    assert not matches("a.b/{x}", "aXb/1")
    assert not matches("{a}" * 17, "a" * 17)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_template_and_uri_can_be_compared(template: str, uri: str) -> None:
    matches(template, uri)
