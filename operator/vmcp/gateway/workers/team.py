"""The workers of one gateway as one: the first watches, checks and judges; the others are told, and tell of calls.

So backends see one prober, and all workers serve the same configuration and use the same backends. What is told is the
present state, never a history: a worker that is slow, or starts anew, is told the latest.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from vmcp.api.category import ErrorCategory
from vmcp.gateway.fleet import Fleet
from vmcp.gateway.passive import Passive, Reading, reading_of
from vmcp.gateway.upstream import Upstream
from vmcp.gateway.workers.mail import Letter, Mail
from vmcp.health.snapshot import Snapshot
from vmcp.mcp.backend import BackendError

log = logging.getLogger(__name__)

LEADER: Final = 0
HELLO: Final = "hello"
STATE: Final = "state"
SIGHTING: Final = "sighting"
AGAIN_S: Final = 0.05
"""A box that was full is tried again after this."""
REACHED_EVERY_S: Final = 0.1
"""That a doubted backend is reached is told no more often than this."""


class Seen(msgspec.Struct, array_like=True, frozen=True):
    """A backend as the leader sees it.

    Attributes:
        told: as the status or the monitor has it.
        local: what the local breaker says, None = nothing.
        doubted: the leader wants to know when a call reaches it.
    """

    name: str
    told: Snapshot
    local: Snapshot | None
    doubted: bool


class State(msgspec.Struct, array_like=True, frozen=True):
    """What a follower is told. `config` None = as before."""

    config: str | None
    seen: list[Seen]


class Sighting(msgspec.Struct, array_like=True, frozen=True):
    """What calls of a follower show of a backend. `category` None = it was reached."""

    name: str
    fingerprint: str
    category: ErrorCategory | None = None
    http_status: int | None = None


class Leader:
    """Tells the others.

    Args:
        waiting: why there is nothing to tell yet; empty = there is.
    """

    def __init__(self, mail: Mail, *, fleet: Fleet, passive: Passive, waiting: Callable[[], str]) -> None:
        self._mail = mail
        self._fleet = fleet
        self._passive = passive
        self._waiting = waiting
        self._config: str | None = None
        self._due: dict[int, set[str]] = {other: set() for other in mail.others}
        self._config_due: set[int] = set()
        self._greeted: set[int] = set()
        self._flushing = False
        fleet.on_heard = passive.on_news = self.heard

    def configured(self, text: str) -> None:
        """The configuration is another."""
        self._config = text
        self._config_due.update(self._mail.others)
        self._flush_soon()

    def heard(self, name: str) -> None:
        """There is news of a backend."""
        for due in self._due.values():
            due.add(name)
        self._flush_soon()

    def everything(self, worker: int) -> None:
        """This one knows nothing yet."""
        self._greeted.add(worker)
        if self._config is not None:
            self._config_due.add(worker)
        self._due[worker].update(self._fleet.upstreams)
        self._flush_soon()

    def all_anew(self) -> None:
        """Nobody knows what this process knows."""
        for worker in self._mail.others:
            self.everything(worker)

    def hear(self, letter: Letter) -> None:
        """A follower wants to be told, or tells what its calls show."""
        if letter.kind == HELLO:
            self.everything(letter.sender)
        else:
            self._sighted(letter)

    def _sighted(self, letter: Letter) -> None:
        sighting = msgspec.msgpack.decode(letter.content, type=Sighting)
        upstream = self._fleet.upstreams.get(sighting.name)
        if upstream is None or upstream.fingerprint != sighting.fingerprint:
            return
        if sighting.category is None:
            self._passive.reached(upstream)
        else:
            message = "a call did not reach it"
            error = BackendError(sighting.category, message, http_status=sighting.http_status)
            self._passive.failed(upstream, error)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._waiting():
            return
        left = False
        for worker, names in self._due.items():
            if not names and worker not in self._config_due and worker not in self._greeted:
                continue
            config = self._config if worker in self._config_due else None
            state = State(config, [self._seen(name) for name in names if name in self._fleet.upstreams])
            if self._mail.post(worker, STATE, msgspec.msgpack.encode(state)):
                names.clear()
                self._config_due.discard(worker)
                self._greeted.discard(worker)
            else:
                left = True
        if left:
            self._flushing = True
            asyncio.get_running_loop().call_later(AGAIN_S, self._flush)

    def _seen(self, name: str) -> Seen:
        upstream = self._fleet.upstreams[name]
        return Seen(name, upstream.told, upstream.local, self._passive.doubts(name))


class Follower:
    """Is told. It hears the calls of its worker in place of the local breaker, which is the leader's.

    Args:
        reconfigure: takes over a changed configuration.
        informed: called whenever the leader has spoken.
    """

    def __init__(
        self, mail: Mail, *, fleet: Fleet, reconfigure: Callable[[str], None], informed: Callable[[], None]
    ) -> None:
        self._mail = mail
        self._fleet = fleet
        self._reconfigure = reconfigure
        self._informed = informed
        self._doubted: dict[str, float] = {}

    def begin(self) -> None:
        """Ask for all that the leader knows."""
        if not self._mail.post(LEADER, HELLO):
            # Its box is full of what others told it: it will tell us of itself when it starts anew.
            log.warning("worker %d does not hear us", LEADER)

    def told(self, letter: Letter) -> None:
        """The leader has spoken."""
        state = msgspec.msgpack.decode(letter.content, type=State)
        if state.config is not None:
            self._reconfigure(state.config)
            self._doubted = {name: at for name, at in self._doubted.items() if name in self._fleet.upstreams}
        for seen in state.seen:
            self._fleet.see_one(seen.name, seen.told)
            self._fleet.guard(seen.name, seen.local)
            if not seen.doubted:
                self._doubted.pop(seen.name, None)
            else:
                self._doubted.setdefault(seen.name, 0.0)
        self._informed()

    def reached(self, upstream: Upstream) -> None:
        """As `Ear`."""
        if not self._doubted or upstream.name not in self._doubted:
            return
        now = time.monotonic()
        if now - self._doubted[upstream.name] >= REACHED_EVERY_S:
            self._doubted[upstream.name] = now
            self._tell(Sighting(upstream.name, upstream.fingerprint))

    def failed(self, upstream: Upstream, error: BackendError) -> None:
        """As `Ear`."""
        match reading_of(error):
            case Reading.REACHED:
                self.reached(upstream)
            case Reading.FAILED:
                self._tell(Sighting(upstream.name, upstream.fingerprint, error.category, error.http_status))

    def _tell(self, sighting: Sighting) -> None:
        # Where the leader's box is full it has heard enough.
        self._mail.post(LEADER, SIGHTING, msgspec.msgpack.encode(sighting))
