"""What the writer keeps of one object: what is stored, when it may write again, when it must."""

from collections.abc import Mapping
from dataclasses import dataclass

from vmcp.api.status import VirtualMCPServerStatus
from vmcp.status.news import has_news
from vmcp.status.recall import read_status

MAX_SPREAD_S = 10.0


@dataclass(slots=True)
class Slot:
    """State of one object, by UID. Times are monotonic seconds.

    Attributes:
        share: of the heartbeat that passes until the next one: drawn after a write with news, since a fleet must
            not beat at once, and 1 after a heartbeat. At most 1, so that no status gets older than its heartbeat.
        spread: of `MAX_SPREAD_S`, drawn once; heartbeats overdue at start are spread by it.
        created_at: when this object was first heard of.
        stored: the status as the API server has it, None until it was read.
        version: `resourceVersion` of `stored`.
        not_before: no turn before this: a second after a write, or the end of a backoff.
        due: when its next turn is, None while it has none.
        busy: a turn is under way.
        reported: something may have changed since the turn under way began.
        failures: failed attempts in a row.
        slim: the API server found the full status too large.
        title: `namespace/name`, for logs.
    """

    uid: str
    share: float
    spread: float
    created_at: float
    stored: VirtualMCPServerStatus | None = None
    version: str = ""
    not_before: float = 0.0
    due: float | None = None
    busy: bool = False
    reported: bool = False
    failures: int = 0
    slim: bool = False
    title: str = ""

    def observe(self, obj: Mapping[str, object], *, reread: bool = False) -> bool:
        """Take the object as read or watched, unless it is older than what is known; whether it brought news.

        What was reread counts whatever its version: the cluster may have been restored from a backup.
        """
        version = _version(obj)
        if not reread and not _newer(version, self.version):
            return False
        before, self.version = self.stored, version
        self.stored = read_status(obj.get("status")) or VirtualMCPServerStatus.model_construct()
        return before is not None and has_news(before, self.stored)

    def written(self, obj: Mapping[str, object], status: VirtualMCPServerStatus) -> None:
        """Take the server's answer to a write of `status`."""
        if _newer(self.version, _version(obj)):
            return  # Changed again meanwhile and already seen so: the next turn tells.
        self.observe(obj, reread=True)
        if self.stored is None or has_news(self.stored, status):
            # Another manager holds something in it that is not ours to remove: writing again would not help.
            self.stored = status

    def beat_in(self, heartbeat_s: float, *, now: float, wall: float) -> float:
        """Seconds until this object must be written though nothing is new; 0 or less = now."""
        period = heartbeat_s * self.share
        spread = self.created_at + self.spread * min(period, MAX_SPREAD_S) - now
        if self.stored is None or self.stored.last_report_time is None:
            return spread
        # A report time in the future is another machine's clock, not a reason for a long silence.
        age = max(0.0, wall - self.stored.last_report_time.timestamp())
        return max(period - age, spread)


def _version(obj: Mapping[str, object]) -> str:
    metadata = obj.get("metadata")
    return str(metadata.get("resourceVersion", "")) if isinstance(metadata, Mapping) else ""


def _newer(version: str, known: str) -> bool:
    if version.isdigit() and known.isdigit():
        return int(version) > int(known)
    return version not in ("", known)
