"""Who wrote while who held the Lease, as the API server's audit log tells it.

Every operator process has a user agent of its own. Whoever's write of the Lease was stored last is the holder, since
only the holder and whoever takes it over write it. Where the API server was killed before it told the outcome of such
a write, both may be the holder.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.integration.twin import WRITES

from vmcp_dev.auditlog import entries

Entry = dict[str, Any]


def writes_of_operators(audit_log: Path) -> list[Entry]:
    """One entry a request, in the order in which they came; `responseStatus` is missing where none was told."""
    found: dict[str, Entry] = {}
    for entry in entries(audit_log):
        if entry["verb"] in WRITES and entry.get("userAgent", "").startswith("vmcp-operator/"):
            found[entry["auditID"]] = found.get(entry["auditID"], {}) | entry
    return sorted(found.values(), key=received_at)


def received_at(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry["requestReceivedTimestamp"])


def answered_at(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry["stageTimestamp"])


def code_of(entry: Entry) -> int | None:
    """None = not told."""
    code: int | None = entry.get("responseStatus", {}).get("code")
    return code


def is_lease(entry: Entry) -> bool:
    return bool(entry["objectRef"]["resource"] == "leases")


def is_status(entry: Entry) -> bool:
    reference = entry["objectRef"]
    return bool(reference["resource"] == "virtualmcpservers" and reference.get("subresource") == "status")


def is_stored(entry: Entry) -> bool:
    code = code_of(entry)
    return code is not None and code < 300


def holders_at(moment: datetime, entries: Iterable[Entry]) -> set[str]:
    """User agents of those that may have held the Lease then."""
    holders: set[str] = set()
    for entry in entries:
        if is_lease(entry) and is_stored(entry) and answered_at(entry) <= moment:
            holders = {entry["userAgent"]}
        elif is_lease(entry) and code_of(entry) is None and received_at(entry) <= moment:
            holders = holders | {entry["userAgent"]}
    return holders


def writes_of_others(entries: list[Entry]) -> list[str]:
    """Writes, of anything but the Lease, by a process that did not hold it."""
    return [
        f"{entry['requestReceivedTimestamp']} {entry['verb']} {entry['requestURI']} by {entry['userAgent']}"
        for entry in entries
        if not is_lease(entry) and entry["userAgent"] not in holders_at(received_at(entry), entries)
    ]


def quickest_three_s(entries: list[Entry]) -> float:
    """The shortest time in which one process stored three status writes of one object.

    Not two: a write is stamped when it arrives, and a process that is stopped in the midst of the first sends it late.
    The second comes after the answer to the first, and the third a second after that.
    """
    written: dict[tuple[str, str], list[datetime]] = {}
    for entry in entries:
        if is_status(entry) and is_stored(entry):
            written.setdefault((entry["userAgent"], entry["objectRef"]["name"]), []).append(received_at(entry))
    threes = [zip(times, times[2:], strict=False) for times in written.values()]
    return min(((third - first).total_seconds() for three in threes for first, third in three), default=float("inf"))
