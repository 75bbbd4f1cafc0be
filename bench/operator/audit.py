"""What the API server's audit log says of the operator: its calls within a time, reads and writes apart."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vmcp_dev.auditlog import entries

_WRITES: Final = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls by verb, resource and subresource, such as `patch virtualmcpservers/status`."""

    by_kind: Counter[str]

    @property
    def writes(self) -> int:
        """Of any verb that writes, whether it changed anything or not."""
        return sum(count for kind, count in self.by_kind.items() if kind.split()[0] in _WRITES)

    @property
    def reads(self) -> int:
        """Gets, lists, and watches that began."""
        return self.by_kind.total() - self.writes


def calls(log: Path, pid: int, began: float, ended: float) -> Calls:
    """The operator's calls that came between two moments, in seconds since the epoch.

    Args:
        log: the audit log; what was rotated away from it is beside it and read too.
        pid: the operator's process; its own client names it, kopf's names kopf.
    """
    ours = re.compile(rf"^vmcp-operator/.*; {pid}\)|^kopf/")
    found: Counter[str] = Counter()
    for entry in entries(log):
        # A watch is complete only when it ends: it counts when it begins.
        if entry["stage"] != ("ResponseStarted" if entry["verb"] == "watch" else "ResponseComplete"):
            continue
        came = datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp()
        if began <= came < ended and ours.search(entry.get("userAgent", "")):
            reference = entry.get("objectRef", {})
            parts = [reference.get("resource", entry["requestURI"]), reference.get("subresource", "")]
            found[f"{entry['verb']} {'/'.join(part for part in parts if part)}"] += 1
    return Calls(found)


def now() -> float:
    """As the audit log dates."""
    return datetime.now(UTC).timestamp()
