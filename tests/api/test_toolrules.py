"""Rules for tools: contradictions are named with field and fix, names without a backend are no error."""

from typing import Any

import pytest
from tests.api.samples import vmcp

from vmcp.api.aggregation import Aggregation
from vmcp.api.gatewayconfig import ConfigError, load_gateway_config
from vmcp.api.toolrules import rules_without_effect, unmatched_workloads
from vmcp.api.validation import validate

PLACE = "spec.config.aggregation"


def problems(**aggregation: Any) -> list[str]:
    return [str(problem) for problem in validate(vmcp(config={"aggregation": aggregation})["spec"])]


def rules(workload: str, filter: list[str] | None = None, **overrides: Any) -> dict[str, Any]:
    return {"workload": workload, "filter": filter, "overrides": overrides}


SAME = [rules("a", x={"name": "find"}), rules("b", y={"name": "find"})]


@pytest.mark.parametrize(
    "aggregation",
    [
        {},
        {"conflictResolutionConfig": {"prefixFormat": ""}},
        {"conflictResolutionConfig": {"prefixFormat": "team.{workload}_{workload}."}},
        {"conflictResolution": "priority", "conflictResolutionConfig": {"priorityOrder": ["a", "gone"]}},
        {"conflictResolution": "prefix", "tools": SAME},
        {"conflictResolution": "priority", "tools": SAME},
        {"conflictResolution": "manual", "tools": [SAME[0], {**SAME[1], "excludeAll": True}]},
        {"conflictResolution": "manual", "tools": [SAME[0], {**SAME[1], "filter": ["z"]}]},
        {"conflictResolution": "manual", "tools": SAME, "excludeAllTools": True},
        {"tools": [rules("a", ["x"], x={"name": "find"}, y={"name": "find"})]},
        {"tools": [rules("a", x={"name": "", "description": "d"})]},
    ],
)
def test_sound_rules_are_taken(aggregation: dict[str, Any]) -> None:
    assert problems(**aggregation) == []


@pytest.mark.parametrize(
    ("aggregation", "path", "message"),
    [
        (
            {"conflictResolutionConfig": {"prefixFormat": "{server}_"}},
            f"{PLACE}.conflictResolutionConfig.prefixFormat",
            "has another placeholder than {workload}",
        ),
        (
            {"conflictResolutionConfig": {"prefixFormat": "{workload_"}},
            f"{PLACE}.conflictResolutionConfig.prefixFormat",
            "has another placeholder",
        ),
        (
            {"conflictResolutionConfig": {"priorityOrder": ["a", "b", "a"]}},
            f"{PLACE}.conflictResolutionConfig.priorityOrder[2]",
            "'a' is in the order already",
        ),
        (
            {"tools": [rules("a"), rules("a")]},
            f"{PLACE}.tools[1].workload",
            f"'a' has its rules in {PLACE}.tools[0] already",
        ),
        (
            {"tools": [rules("a", x={"name": "find it"})]},
            f"{PLACE}.tools[0].overrides.x.name",
            "'find it' is not a tool name",
        ),
        (
            {"tools": [rules("a", x={"name": "find"}, y={"name": "find"})]},
            f"{PLACE}.tools[0].overrides.y.name",
            f"'find' is what {PLACE}.tools[0].overrides.x is shown as",
        ),
        (
            {"tools": [rules("a", x={"name": "y"}, y={"description": "stays y"})]},
            f"{PLACE}.tools[0].overrides.y.name",
            "'y' is what",
        ),
        (
            {"conflictResolution": "manual", "tools": SAME},
            f"{PLACE}.tools[1].overrides.y.name",
            f"'find' is what {PLACE}.tools[0].overrides.x is shown as",
        ),
    ],
)
def test_a_contradiction_is_named_with_its_field(aggregation: dict[str, Any], path: str, message: str) -> None:
    (problem,) = problems(**aggregation)
    assert problem.startswith(f"{path}: ")
    assert message in problem


def test_the_gateway_refuses_the_same_contradiction() -> None:
    text = f"{{incomingAuth: {{type: anonymous}}, aggregation: {{conflictResolution: manual, tools: {SAME}}}}}"
    with pytest.raises(ConfigError, match=r"aggregation\.tools\[1\]\.overrides\.y\.name"):
        load_gateway_config(text.replace("None", "null"))


def test_names_without_a_backend_are_found_in_order_and_rules() -> None:
    aggregation = Aggregation.model_validate(
        {"conflictResolutionConfig": {"priorityOrder": ["b", "z"]}, "tools": [rules("a"), rules("y")]}
    )
    assert unmatched_workloads(aggregation, {"a", "b"}) == ["y", "z"]


def test_a_filter_by_the_new_name_is_told_to_use_the_backends_own() -> None:
    aggregation = Aggregation.model_validate({"tools": [rules("a", ["find"], search={"name": "find"})]})
    assert rules_without_effect(aggregation, "x") == [
        "x.tools[0].filter[0]: filters go by the backend's own names; write 'search' to show 'find'"
    ]
