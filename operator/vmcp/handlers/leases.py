"""What gateways say in their Leases (design §6): read as words from a pod, and handed to the monitor.

RBAC lets a gateway patch the one Lease of its name, so the Lease's name says who speaks, and nothing in it does.
"""

import logging
from collections.abc import Callable
from itertools import takewhile
from typing import Final

from vmcp.api.passive import ANNOTATION, load_report
from vmcp.health.hearsay import WITHHELD_S
from vmcp.health.monitor import Monitor
from vmcp.kube.client import JsonObject
from vmcp.reconcile.cache import Key
from vmcp.reconcile.names import lease_name

REPORTS_PER_SECOND: Final = 10.0
"""Of one Lease: each replica patches it once a second at most."""
REPORTS_AT_ONCE: Final = 20.0
REFILLED_S: Final = REPORTS_AT_ONCE / REPORTS_PER_SECOND
"""After so long an allowance is what it was at first: it need not be remembered."""
REACHABLE_S: Final = 600.0
"""A gateway's word that it reaches a backend counts for so long: once the backend is out, no call can renew it."""

log = logging.getLogger(__name__)


class Leases:
    """Takes the reports out of Leases that changed.

    Args:
        key_of: the VirtualMCPServer with a UID, as `Reconciler.key_of`.
        now: monotonic seconds, as the monitor counts them.
    """

    def __init__(self, *, monitor: Monitor, key_of: Callable[[str], Key | None], now: Callable[[], float]) -> None:
        self._monitor = monitor
        self._key_of = key_of
        self._now = now
        self._allowances: dict[str, tuple[float, float]] = {}

    def changed(self, before: JsonObject, after: JsonObject) -> bool:
        """Take what is new in a Lease; whether that is all that changed, so that nobody need reconcile."""
        text = _report(after)
        if text != _report(before):
            self._take(after, text)
        return _shape(before) == _shape(after)

    def _take(self, lease: JsonObject, text: object) -> None:
        uid = _owner_of(lease)
        key = self._key_of(uid)
        metadata = lease["metadata"]
        if key is None or (key.namespace, lease_name(key.name)) != (metadata["namespace"], metadata["name"]):
            return
        now = self._now()
        if not self._is_allowed(uid, now):
            return
        report = load_report(text)
        if report is None:
            log.warning("%s: Lease %s holds no report of a gateway; ignored", key, metadata["name"])
            return
        for sighting in report.backends:
            if sighting.withheld:
                self._monitor.reported_withheld(uid, sighting.name, now + WITHHELD_S, fingerprint=sighting.fingerprint)
            elif sighting.failures:
                self._monitor.suspect(uid, sighting.name, sighting.fingerprint)
            elif sighting.reached_seconds_ago is not None:
                at = now - sighting.reached_seconds_ago
                self._monitor.reported_reachable(
                    uid, sighting.name, at + REACHABLE_S, at=at, fingerprint=sighting.fingerprint
                )

    def _is_allowed(self, uid: str, now: float) -> bool:
        left, since = self._allowances.pop(uid, (REPORTS_AT_ONCE, now))
        left = min(REPORTS_AT_ONCE, left + (now - since) * REPORTS_PER_SECOND)
        allowed = left >= 1
        self._forget_refilled(now)
        self._allowances[uid] = (left - 1 if allowed else left), now
        return allowed

    def _forget_refilled(self, now: float) -> None:
        # The longest unused come first.
        refilled = list(takewhile(lambda uid: now - self._allowances[uid][1] >= REFILLED_S, self._allowances))
        for uid in refilled:
            del self._allowances[uid]


def _report(lease: JsonObject) -> object:
    return (lease["metadata"].get("annotations") or {}).get(ANNOTATION)


def _shape(lease: JsonObject) -> object:
    """What of a Lease is the operator's business."""
    parts = ("uid", "labels", "ownerReferences", "deletionTimestamp")
    return [lease["metadata"].get(part) for part in parts]


def _owner_of(lease: JsonObject) -> str:
    references = lease["metadata"].get("ownerReferences") or []
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), "")
