"""One backend as the gateway uses it: where it is, how long a call may take, and whether it may be used."""

import time
from dataclasses import replace

from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.health.snapshot import Circuit, Health, Snapshot, usable
from vmcp.mcp.backend import Backend


class Upstream:
    """A backend, its connection and what is known of its health.

    Attributes:
        timeout_s: seconds that one call may take.
        forced_open: by the configuration a person keeps it out of use; counts until the status tells of it.
        told: as last told by the status or the own monitor.
        snapshot: what counts here: `told`, unless that would use a backend that the local breaker keeps out.
        own_headers: lower-case names of the headers that the gateway itself sends to it.
        health_changed_at: wall clock of the last change of health as seen from here; None before the first.
        usable: listed and called (design §3 rule 4); kept as an attribute since every call reads it.
    """

    __slots__ = (
        "_local", "backend", "config", "fingerprint", "forced_open", "health_changed_at", "name", "own_headers",
        "snapshot", "timeout_s", "told", "usable",
    )  # fmt: skip

    def __init__(
        self,
        config: GatewayBackend,
        backend: Backend,
        *,
        fingerprint: str,
        timeout_s: float,
        forced_open: bool = False,
    ) -> None:
        self.name = config.name
        self.config = config
        self.backend = backend
        self.fingerprint = fingerprint
        self.timeout_s = timeout_s
        self.forced_open = forced_open
        self.own_headers = frozenset(name.lower() for name in config.headers)
        self._local: Snapshot | None = None
        self.health_changed_at: float | None = None
        self.snapshot = self.told = self._unseen()
        self.usable = self._may_be_used()

    def see(self, snapshot: Snapshot | None) -> bool:
        """Take over what is known by now (None or another target's = nothing). True when `usable` changed."""
        matches = snapshot is not None and snapshot.fingerprint == self.fingerprint
        self.told = self._heard(snapshot) if matches and snapshot is not None else self._unseen()
        return self._judge()

    def guard(self, local: Snapshot | None) -> bool:
        """Take over what the local breaker says, None = it keeps nothing out. True when `usable` changed."""
        self._local = local
        return self._judge()

    @property
    def local(self) -> Snapshot | None:
        """What the local breaker says, None = it keeps nothing out."""
        return self._local

    def retry_after_s(self) -> int | None:
        """Whole seconds until the circuit may be closed again; None when it is closed."""
        if self.snapshot.circuit is Circuit.HALF_OPEN:
            return 1
        if self.snapshot.open_until is None:
            return None
        # Never 0: the trial itself takes a moment, and "retry in 0 s" makes clients spin.
        return max(1, round(self.snapshot.open_until - time.time()))

    def _judge(self) -> bool:
        kept_out = self._local is not None and usable(self.told)
        health = self.snapshot.health
        self.snapshot = self._local if kept_out and self._local is not None else self.told
        if self.snapshot.health is not health:
            # The status does not carry it: a gateway tells the moment at which it learned of the change.
            self.health_changed_at = self.snapshot.health_changed_at or time.time()
        before = self.usable
        self.usable = self._may_be_used()
        return self.usable != before

    def _may_be_used(self) -> bool:
        return not self.config.unavailable_reason and usable(self.snapshot)

    def _heard(self, snapshot: Snapshot) -> Snapshot:
        # No check finds a backend unauthenticated that gets its headers from a Secret: some gateway said that it lacks
        # them. Where this one has them all, that was another one, or the one before it.
        own_word = self.config.headers_from_env and not self.config.unavailable_reason
        if own_word and snapshot.health is Health.UNAUTHENTICATED:
            return replace(snapshot, health=Health.UNKNOWN, detail="")
        return snapshot

    def _unseen(self) -> Snapshot:
        reason = self.config.unavailable_reason
        return Snapshot(
            name=self.name,
            url=self.config.url,
            fingerprint=self.fingerprint,
            health=Health.UNAUTHENTICATED if reason else Health.UNKNOWN,
            circuit=Circuit.OPEN if self.forced_open else Circuit.CLOSED,
            detail=reason,
            auth_configured=self.config.auth_configured,
        )
