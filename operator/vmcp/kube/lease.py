"""Who of several operators works: the one that holds a Lease. The others wait for it.

The rules are client-go's. The holder renews every `RENEW_EVERY_S`. A waiting process takes the Lease when it was
released, or when by its own clock it has seen no renewal for the Lease's duration; clocks of different machines are
never compared. Every write of the Lease is fenced by its resourceVersion, so of two takers one gets a conflict.

The holder counts its Lease as held for `RENEW_WITHIN_S` from the moment before its last renewal was sent, which is
less than anybody else waits. `check` says so before every write of the holder (`Kube.fenced`): a process that stood
still for longer finds its Lease gone before it can write anything.
"""

import asyncio
import hashlib
import logging
import os
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from vmcp.kube.client import Conflict, JsonObject, Kube, KubeError, NotFound
from vmcp.kube.kinds import LEASE

DURATION_S = 15
RENEW_EVERY_S = 5.0
RENEW_WITHIN_S = 10.0
LOOK_EVERY_S = 1.0
"""A waiting process looks this often, and so does a holder whose renewal failed."""
ATTEMPT_S = 4.0
RELEASE_S = 2.0

NAME = "vmcp-operator"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

log = logging.getLogger(__name__)


class LeaseLost(KubeError):
    """This process may not act any more: it must end, and write nothing on its way."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "LeaseLost", message)


class Leadership(ABC):
    """Whether this process may act: acquired before the first act, kept while acting, released after the last."""

    @property
    @abstractmethod
    def held(self) -> bool:
        """Whether this process may act now."""

    @abstractmethod
    async def acquire(self) -> None:
        """Wait until this process may act."""

    @abstractmethod
    async def keep(self) -> None:
        """Go on acting until cancelled. Raises LeaseLost."""

    @abstractmethod
    async def release(self) -> None:
        """Let others act; the last thing that is done. Raises nothing."""

    def check(self) -> None:
        """Raises LeaseLost where this process may not act."""
        if not self.held:
            raise LeaseLost("the Lease is not held")


class Alone(Leadership):
    """Nobody else is there: this process may always act."""

    held = True

    async def acquire(self) -> None:
        """At once."""

    async def keep(self) -> None:
        """For ever."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Nobody waits."""


def _now() -> float:
    """Seconds that never jump and that go on while the machine is suspended, where the system can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease(Leadership):
    """One process's view of one Lease.

    Args:
        owner: owner reference to what the Lease goes with; None = it stays.
        now: monotonic seconds; tests pass a clock of their own.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        owner: JsonObject | None = None,
        now: Callable[[], float] = _now,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._owned: JsonObject = {"ownerReferences": [owner]} if owner else {}
        self._now = now
        self._held_until: float | None = None
        self._version = ""
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = now()

    @property
    def held(self) -> bool:
        """Whether the last renewal is recent enough that nobody else can have taken the Lease."""
        return self._held_until is not None and self._now() < self._held_until

    async def acquire(self) -> None:
        """Wait, however long, until this process holds the Lease. Raises nothing but CancelledError."""
        told = ""
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    holder = await self._try()
                if not holder:
                    log.info("leading: %s holds Lease %s/%s", self._identity, self._namespace, self._name)
                    return
                news = f"following: Lease {self._namespace}/{self._name} is held by {holder}"
                level = logging.INFO
            except (KubeError, TimeoutError) as error:
                news = f"cannot get Lease {self._namespace}/{self._name}: {str(error) or 'no answer in time'}"
                level = logging.WARNING
            if news != told:
                log.log(level, "%s", news)
                told = news
            await asyncio.sleep(LOOK_EVERY_S)

    async def keep(self) -> None:
        """Renew until cancelled. Raises LeaseLost, at the latest when the Lease can no longer be called held."""
        while True:
            await self._sleep(RENEW_EVERY_S)
            while not await self._renewed():
                await self._sleep(LOOK_EVERY_S)

    async def release(self) -> None:
        """Empty the holder, so that a waiting process takes over within a second or two. Best effort."""
        if not self.held:
            return
        self._held_until = None
        released = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._write_while_ours(released)
            log.info("released Lease %s/%s", self._namespace, self._name)
        except (KubeError, TimeoutError, LeaseLost) as error:
            said = str(error) or "no answer in time"
            log.warning("Lease %s/%s is not released: %s", self._namespace, self._name, said)

    async def _sleep(self, seconds: float) -> None:
        """As long, but never beyond the moment at which the Lease is lost."""
        self.check()
        assert self._held_until is not None
        await asyncio.sleep(max(0.0, min(seconds, self._held_until - self._now())))
        self.check()

    async def _renewed(self) -> bool:
        """Whether a renewal was stored. Raises LeaseLost where somebody else holds the Lease."""
        assert self._held_until is not None
        before = self._now()
        try:
            async with asyncio.timeout(min(ATTEMPT_S, self._held_until - before)):
                await self._write_while_ours({"renewTime": _micro_time()})
        except LeaseLost:
            self._held_until = None
            raise
        except (KubeError, TimeoutError) as error:
            log.warning("Lease not renewed, again in %.0f s: %s", LOOK_EVERY_S, str(error) or "no answer in time")
            return False
        self._held_until = before + RENEW_WITHIN_S
        return True

    async def _try(self) -> str:
        """One attempt to take the Lease: empty when it is ours, else who holds it."""
        stored: JsonObject | None = None
        with suppress(NotFound):
            stored = await self._kube.get(LEASE, self._namespace, self._name)
        if stored is not None:
            self._observe(stored)
        before = self._now()
        spec = (stored or {}).get("spec") or {}
        holder, duration_s = self._seen[0], float(spec.get("leaseDurationSeconds") or DURATION_S)
        # Ours already: an answer that did not come in time. Deleted: its holder finds out at its next renewal.
        if holder not in ("", self._identity) and before < self._seen_at + duration_s:
            return holder
        try:
            if stored is None:
                made = await self._kube.create(LEASE, self._manifest())
                self._version = made["metadata"]["resourceVersion"]
            else:
                await self._take(self._spec() | {"leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1})
        except Conflict:
            return "somebody who was faster"
        self._held_until = before + RENEW_WITHIN_S
        return ""

    async def _take(self, spec: JsonObject) -> None:
        try:
            await self._write(spec, self._owned)
        except KubeError as error:
            if error.status != 403 or not self._owned:
                raise
            # With OwnerReferencesPermissionEnforcement, who may not delete a Lease may not give it an owner later.
            await self._write(spec)

    def _observe(self, stored: JsonObject) -> None:
        self._version = stored["metadata"]["resourceVersion"]
        spec = stored.get("spec") or {}
        seen = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._now()

    async def _write_while_ours(self, spec: JsonObject) -> None:
        """Write, also where the Lease was only touched meanwhile. Raises LeaseLost where it is not ours any more."""
        try:
            await self._write(spec)
        except Conflict:
            self._observe(await self._kube.get(LEASE, self._namespace, self._name))
            if self._seen[0] != self._identity:
                raise LeaseLost(f"{self._seen[0] or 'nobody'} holds the Lease") from None
            await self._write(spec)
        except NotFound:
            raise LeaseLost("the Lease was deleted") from None

    async def _write(self, spec: JsonObject, metadata: JsonObject | None = None) -> None:
        body = {"metadata": {"resourceVersion": self._version} | (metadata or {}), "spec": spec}
        stored = await self._kube.patch(LEASE, self._namespace, self._name, body)
        self._version = stored["metadata"]["resourceVersion"]

    def _spec(self) -> JsonObject:
        now = _micro_time()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_S,
            "acquireTime": now,
            "renewTime": now,
        }

    def _manifest(self) -> JsonObject:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"namespace": self._namespace, "name": self._name} | self._owned,
            "spec": self._spec() | {"leaseTransitions": 0},
        }


def identity() -> str:
    """Of this process, never the same twice: host, process id, chance."""
    return f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"


def lease_name(namespaces: Sequence[str]) -> str:
    """Of the operators that serve these namespaces (none = all): others must not wait for them."""
    if not namespaces:
        return NAME
    return f"{NAME}-{hashlib.sha256(','.join(sorted(set(namespaces))).encode()).hexdigest()[:10]}"


def own_namespace() -> str:
    """The namespace of the pod that this process runs in; `default` where it runs in none."""
    try:
        return _NAMESPACE_FILE.read_text().strip() or "default"
    except OSError:
        return "default"


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
