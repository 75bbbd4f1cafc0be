import json
from pathlib import Path

from vmcp_dev.auditlog import entries


def test_a_line_that_is_cut_off_hides_no_other(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    whole = [json.dumps({"auditID": each, "user": "one"}) for each in "abc"]
    log.write_text(f"{whole[0]}\n{whole[1][:20]}{whole[1]}\n{whole[2]}\n{whole[0][:-5]}")
    assert [entry["auditID"] for entry in entries(log)] == ["a", "c"]


def test_rotated_files_come_first_and_other_files_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "audit-2026-01-01T00-00-00.000.log").write_text('{"auditID": "old"}\n')
    (tmp_path / "audit.log").write_text('{"auditID": "new"}\n{"auditID": "other"}\n')
    (tmp_path / "audit-policy.json").write_text('{"auditID": "new"}\n')
    assert [entry["auditID"] for entry in entries(tmp_path / "audit.log")] == ["old", "new", "other"]
    assert [entry["auditID"] for entry in entries(tmp_path / "audit.log", naming="new")] == ["new"]
