"""What the API server's audit log says of the operator: its calls within a time, reads and writes apart."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

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
    for entry in _entries(log):
        # A watch is complete only when it ends: it counts when it begins.
        if entry["stage"] != ("ResponseStarted" if entry["verb"] == "watch" else "ResponseComplete"):
            continue
        came = datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp()
        if began <= came < ended and ours.search(entry.get("userAgent", "")):
            reference = entry.get("objectRef", {})
            parts = [reference.get("resource", entry["requestURI"]), reference.get("subresource", "")]
            found[f"{entry['verb']} {'/'.join(part for part in parts if part)}"] += 1
    return Calls(found)


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(log.parent.glob(f"{log.stem}*{log.suffix}")):
        with path.open() as lines:
            for line in lines:
                if "vmcp-operator/" in line or "kopf/" in line:
                    yield json.loads(line)


def now() -> float:
    """As the audit log dates."""
    return datetime.now(UTC).timestamp()
