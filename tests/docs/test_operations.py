"""docs/operations.md names everything that a person on duty can meet."""

import re
from pathlib import Path

import pytest
import yaml

from vmcp.api.conditions import ConditionType
from vmcp_dev.optiontables import write_into

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text()


def test_the_tables_of_options_are_those_of_the_command(tmp_path: Path) -> None:
    written = tmp_path / "operations.md"
    written.write_text(TEXT)
    write_into(written)
    assert written.read_text() == TEXT, "run make options"


def test_every_variable_that_the_code_reads_is_explained() -> None:
    read = {
        name
        for path in (ROOT / "operator" / "vmcp").rglob("*.py")
        for name in re.findall(r"\"(VMCP_[A-Z_]+)\"", path.read_text())
    }
    assert {name for name in read if f"`{name}`" not in TEXT} == set()


@pytest.mark.parametrize("condition", list(ConditionType))
def test_every_condition_is_explained(condition: ConditionType) -> None:
    assert f"`{condition}`" in TEXT


def test_every_alert_has_a_first_thing_to_do() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "alerts" / "vmcp.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    explained = set(re.findall(r"`(Vmcp\w+)`", TEXT))
    assert alerts == explained


def test_every_ready_reason_that_asks_for_somebody_is_in_the_table_of_troubles() -> None:
    table = TEXT.partition("## Troubleshooting")[2].partition("## Alerts")[0]
    phases = (ROOT / "operator" / "vmcp" / "status" / "phase.py").read_text()
    named = set(re.findall(r"Reason\.([A-Z_]+)", phases)) - {"ALL_BACKENDS_ROUTABLE"}
    assert named
    for reason in named:
        assert reason.title().replace("_", "") in table, reason
