"""Whose word on health counts: the operator's status while it is fresh, else the gateway's own monitor.

Without Kubernetes there is no status, and the own monitor decides from the start.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from vmcp.api.duration import parse_duration
from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.gateway.fleet import Fleet, failure_handling
from vmcp.gateway.passive import Passive
from vmcp.health.monitor import Change, Check, Monitor
from vmcp.health.snapshot import Snapshot
from vmcp.health.target import Target
from vmcp.status.recall import recall

log = logging.getLogger(__name__)

DEFAULT_HEARTBEAT_S: Final = 300.0
COMPATIBLE_DEFAULT: Final = "30s"
"""A `statusReportingInterval` that stored objects carry without anyone having asked for it: same as unset."""
_OWNER: Final = "gateway"
_CHECK_S: Final = 1.0


class View:
    """Tells the fleet what is known of its backends.

    Attributes:
        decides: the own monitor decides right now.

    Args:
        passive: hears whenever something was said of a backend.
        reported: an operator reports health in the status of our VirtualMCPServer.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        passive: Passive,
        check: Check,
        reported: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.decides = not reported
        self._fleet = fleet
        self._passive = passive
        self._reported = reported
        self._now = now
        self._monitor = Monitor(check=check, changed=self._checked)
        self._targets: Sequence[Target] = ()
        self._status: Mapping[str, Snapshot] = {}
        self._report_at: float | None = None
        self._heartbeat_s = DEFAULT_HEARTBEAT_S

    def configure(self, config: GatewayConfig, targets: Sequence[Target]) -> None:
        """Judge these backends from now on."""
        self._targets = targets
        self._heartbeat_s = heartbeat_s(config)
        if self.decides:
            self._monitor.set_targets(_OWNER, self._targets, self._status)
        self._show()

    def reported(self, status: Mapping[str, object] | None) -> None:
        """The status of our VirtualMCPServer as it is now; None = there is none."""
        if status is None:
            return
        self._status = recall(status)
        self._report_at = _seconds(status.get("lastReportTime"))
        self._judge()
        if not self.decides:
            self._show()

    def suspect(self, name: str, fingerprint: str) -> None:
        """Calls to this backend fail: where the own monitor decides, it looks at once."""
        if self.decides:
            self._monitor.suspect(_OWNER, name, fingerprint)

    async def run(self) -> None:
        """Monitor where needed, and notice when reports cease or return."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._monitor.run())
            if self._reported:
                tasks.create_task(self._keep_judging())

    async def _keep_judging(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            self._judge()

    def _judge(self) -> None:
        late = self._report_at is not None and self._now() - self._report_at > 2 * self._heartbeat_s
        if late and not self.decides:
            log.warning("no report from the operator for two heartbeats: checking the backends ourselves")
            self.decides = True
            self._monitor.set_targets(_OWNER, self._targets, self._status)
        elif not late and self.decides and self._reported:
            log.info("the operator reports again: going by its status")
            self.decides = False
            self._monitor.set_targets(_OWNER, ())
            self._show()

    def _checked(self, change: Change) -> None:
        if not self.decides:
            return
        name = change.after.name
        self._fleet.see_one(name, change.after)
        self._passive.heard(name)
        if not self._monitor.is_doubting and _has_answered(change):
            self._passive.answered(name)

    def _show(self) -> None:
        if self.decides:
            self._fleet.see({snapshot.name: snapshot for snapshot in self._monitor.snapshots(_OWNER)})
        else:
            self._fleet.see(self._status)
        for name in self._fleet.upstreams:
            self._passive.heard(name)


def _has_answered(change: Change) -> bool:
    """Whether it was a check that ended, and well."""
    before, after = change.before, change.after
    return after.last_check_at != before.last_check_at and after.category is None and not after.consecutive_failures


def heartbeat_s(config: GatewayConfig) -> float:
    """Seconds between two reports of an operator that has nothing new to say (design §4)."""
    interval = failure_handling(config).status_reporting_interval
    return DEFAULT_HEARTBEAT_S if not interval or interval == COMPATIBLE_DEFAULT else parse_duration(interval)


def _seconds(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
