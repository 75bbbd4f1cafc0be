"""The backends as configured right now: one upstream and one feed each, changed live."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vmcp.api.duration import parse_duration
from vmcp.api.gatewayconfig import GatewayBackend, GatewayConfig
from vmcp.api.operational import FailureHandling, PartialFailureMode, Timeouts
from vmcp.gateway.catalog import Catalog
from vmcp.gateway.feed import Feed
from vmcp.gateway.metrics import Metrics
from vmcp.gateway.rules import Rules
from vmcp.gateway.upstream import Upstream
from vmcp.health.overrule import is_ordered_open
from vmcp.health.snapshot import Snapshot
from vmcp.health.target import Target
from vmcp.health.targets import targets_of
from vmcp.mcp.backend import Address, Backend, ListChanged
from vmcp.mcp.transport import Transport

log = logging.getLogger(__name__)

ASKABLE = b'{"roots":{"listChanged":true},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}}}'
"""What we say that clients can be asked: servers list some tools for those who can be asked only. A client that cannot
is spared, and the backend told so.
"""
TRUSTS_NOBODY = "no certificate"
"""A CA bundle that no certificate chains to."""


class Fleet:
    """Every configured backend.

    Attributes:
        on_flip: told of a backend that became usable or stopped being so.
        on_heard: told the name of a backend whenever something was said of it.

    Args:
        transport: calls go over it.
        tasks: owns the feeds.
    """

    def __init__(
        self, *, transport: Transport, catalog: Catalog, metrics: Metrics, tasks: asyncio.TaskGroup, version: str
    ) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self.on_flip: Callable[[Upstream], None] = lambda upstream: None
        self.on_heard: Callable[[str], None] = lambda name: None
        self._transport = transport
        self._catalog = catalog
        self._metrics = metrics
        self._tasks = tasks
        self._version = version
        self._addresses: dict[str, Address] = {}
        self._feeds: dict[str, tuple[Feed, asyncio.Task[None]]] = {}
        self._fail_on_partial = True

    def configure(self, config: GatewayConfig) -> list[Target]:
        """Work with these backends from now on; unchanged ones keep connection, lists and health.

        Returns:
            The targets, for a monitor.
        """
        config = with_fingerprints(config)
        targets = targets_of(config, read_ca_bundles(config))
        by_name = {backend.name: backend for backend in config.backends}
        timeouts = (config.operational and config.operational.timeouts) or Timeouts.model_validate({})
        upstreams: dict[str, Upstream] = {}
        for target in targets:
            backend = by_name[target.name]
            address = Address(target.url, target.wire.value, target.headers, target.peer)
            timeout_s = parse_duration((timeouts.per_workload or {}).get(target.name, timeouts.default))
            upstream = self.upstreams.get(target.name)
            same = upstream is not None and self._addresses.get(target.name) == address
            if upstream is None or not same or upstream.fingerprint != target.fingerprint:
                connection = Backend(
                    self._transport,
                    address,
                    client_name="vmcp-gateway",
                    client_version=self._version,
                    client_capabilities=ASKABLE,
                )
                upstream = Upstream(
                    backend,
                    connection,
                    fingerprint=target.fingerprint,
                    timeout_s=timeout_s,
                    forced_open=is_ordered_open(target.policy, time.time()),
                )
                self._addresses[target.name] = address
            else:
                upstream.config = backend
                upstream.timeout_s = timeout_s
                upstream.forced_open = is_ordered_open(target.policy, time.time())
            upstreams[target.name] = upstream
        before, self.upstreams = self.upstreams, upstreams
        self._replace_feeds(before)
        handling = failure_handling(config)
        self._fail_on_partial = handling.partial_failure_mode is PartialFailureMode.FAIL
        self._catalog.configure(upstreams, Rules.of(config.aggregation))
        return targets

    def see(self, snapshots: Mapping[str, Snapshot]) -> None:
        """What is known of every backend by now; one that is missing is unknown."""
        for name in self.upstreams:
            self.see_one(name, snapshots.get(name))

    def see_one(self, name: str, snapshot: Snapshot | None) -> None:
        """What is known of one backend by now. A flip reaches feeds and clients before this returns."""
        upstream = self.upstreams.get(name)
        if upstream is not None and upstream.see(snapshot):
            self._flipped(upstream)
        self.on_heard(name)

    def guard(self, name: str, local: Snapshot | None) -> None:
        """What the local breaker says of one backend by now; None = it keeps nothing out."""
        upstream = self.upstreams.get(name)
        if upstream is not None and upstream.guard(local):
            self._flipped(upstream)
        self.on_heard(name)

    def stale(self, name: str, changed: ListChanged) -> None:
        """A backend said, in passing, that a list of its changed."""
        if name in self._feeds:
            self._feeds[name][0].stale(changed)

    async def settle(self) -> None:
        """Wait for first lists that are due any moment; never for a backend that had its moment."""
        for feed in [feed for feed, _ in self._feeds.values() if feed.awaited]:
            await feed.first_read()

    def failure(self) -> str:
        """Why a list cannot be answered under `partialFailureMode: fail`, empty when it can."""
        if self._fail_on_partial:
            for name, (feed, _) in self._feeds.items():
                if feed.failure and feed.upstream.usable and not self._catalog.has_list(name):
                    return f"backend '{name}' failed to list: {feed.failure} (partialFailureMode is fail)"
        return ""

    def usable_count(self) -> int:
        """Number of backends in use."""
        return sum(upstream.usable for upstream in self.upstreams.values())

    def _flipped(self, upstream: Upstream) -> None:
        name, seen = upstream.name, upstream.snapshot
        log.info(
            "backend %s: %s (health %s, circuit %s)%s",
            name,
            "in use" if upstream.usable else "out of use",
            seen.health.value,
            seen.circuit.value,
            f": {seen.detail}" if seen.detail else "",
        )
        self._metrics.flipped(name)
        self.on_flip(upstream)
        self._feeds[name][0].usability(upstream.usable)
        self._catalog.flipped(name)

    def _replace_feeds(self, before: Mapping[str, Upstream]) -> None:
        for name, upstream in before.items():
            if self.upstreams.get(name) is not upstream:
                _, task = self._feeds.pop(name)
                task.cancel()
                if name not in self.upstreams:
                    self._addresses.pop(name, None)
                    self._metrics.forget(name)
        for name, upstream in self.upstreams.items():
            if name not in self._feeds:
                feed = Feed(upstream, self._catalog.put)
                self._feeds[name] = (feed, self._tasks.create_task(feed.run()))


def failure_handling(config: GatewayConfig) -> FailureHandling:
    """`operational.failureHandling`, with defaults where it is unset."""
    spec = config.operational.failure_handling if config.operational else None
    return spec or FailureHandling.model_validate({})


def read_ca_bundles(config: GatewayConfig) -> dict[str, str]:
    """The CA bundles that backends name, by path. A file that is missing or empty trusts nobody."""
    bundles: dict[str, str] = {}
    for path in {backend.ca_bundle_path for backend in config.backends if backend.ca_bundle_path}:
        try:
            # An empty text would mean the system's certificates, and none at all "do not verify" (`targets_of`).
            bundles[path] = Path(path).read_text().strip() or TRUSTS_NOBODY
        except (OSError, UnicodeDecodeError) as error:
            log.error("CA bundle %s cannot be read (%s): its backends are out", path, type(error).__name__)
            bundles[path] = TRUSTS_NOBODY
    return bundles


def with_fingerprints(config: GatewayConfig) -> GatewayConfig:
    """The configuration with a fingerprint for every backend: written by hand, it has none."""
    return config.model_copy(update={"backends": [_with_fingerprint(backend) for backend in config.backends]})


def _with_fingerprint(backend: GatewayBackend) -> GatewayBackend:
    if backend.fingerprint:
        return backend
    source = f"{backend.url}\n{backend.transport}\n{backend.auth_configured}"
    return backend.model_copy(update={"fingerprint": hashlib.sha256(source.encode()).hexdigest()[:16]})
