"""The reading of the audit log that the chaos test relies on."""

import json
from pathlib import Path

from tests.chaos.audit import quickest_three_s, writes_of_operators, writes_of_others

ONE, TWO = "vmcp-operator/1 (host; 1)", "vmcp-operator/1 (host; 2)"


def _line(second: float, agent: str, resource: str, *, ident: str, code: int | None = 200) -> str:
    stamp = f"2026-01-01T00:00:{second:09.6f}Z"
    entry = {
        "auditID": ident,
        "stage": "RequestReceived" if code is None else "ResponseComplete",
        "verb": "patch",
        "userAgent": agent,
        "requestURI": "/",
        "objectRef": {"resource": resource, "name": "x"},
        "requestReceivedTimestamp": stamp,
        "stageTimestamp": stamp,
    }
    if resource == "virtualmcpservers":
        entry["objectRef"]["subresource"] = "status"  # type: ignore[index]
    return json.dumps(entry | ({} if code is None else {"responseStatus": {"code": code}}))


def _log(folder: Path, *lines: str) -> Path:
    path = folder / "audit.log"
    path.write_text("\n".join((*lines, '{"cut off')))
    return path


def test_a_write_of_one_who_lost_the_lease_is_found(tmp_path: Path) -> None:
    entries = writes_of_operators(
        _log(
            tmp_path,
            _line(1, ONE, "leases", ident="a"),
            _line(2, ONE, "virtualmcpservers", ident="b"),
            _line(3, TWO, "leases", ident="c", code=409),
            _line(4, ONE, "virtualmcpservers", ident="d"),
            _line(20, TWO, "leases", ident="e"),
            _line(21, TWO, "virtualmcpservers", ident="f"),
            _line(22, ONE, "virtualmcpservers", ident="g"),
        )
    )
    (found,) = writes_of_others(entries)
    assert "00:00:22" in found
    assert quickest_three_s(entries) == 20.0


def test_a_write_of_one_who_never_had_the_lease_is_found_though_it_was_refused(tmp_path: Path) -> None:
    lines = _line(1, ONE, "leases", ident="a"), _line(2, TWO, "services", ident="b", code=409)
    assert len(writes_of_others(writes_of_operators(_log(tmp_path, *lines)))) == 1


def test_where_the_outcome_of_taking_the_lease_was_not_told_both_may_write(tmp_path: Path) -> None:
    entries = writes_of_operators(
        _log(
            tmp_path,
            _line(1, ONE, "leases", ident="a"),
            _line(20, TWO, "leases", ident="b", code=None),
            _line(21, TWO, "virtualmcpservers", ident="c"),
            _line(22, ONE, "virtualmcpservers", ident="d"),
        )
    )
    assert writes_of_others(entries) == []
