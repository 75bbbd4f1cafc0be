"""Sessions of Legacy clients: what one is told and what it is waiting for. Bounded, and gone when idle.

A client whose sealed id is good and whose session is not here gets it anew: it began at another replica, or had to make
room for others. What began it is in the id; subscriptions, log level and what its streams carried are not.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Raw

from vmcp.gateway.changes import Changed, Changes, Listener
from vmcp.gateway.flight import Underway
from vmcp.gateway.questions import CAPABILITY_OF, Questions
from vmcp.gateway.replay import Budget, Channel, Replay
from vmcp.gateway.seal import Seal
from vmcp.gateway.sharing.memory import Kept

ANONYMOUS = "anonymous"
"""The identity of a caller that nobody asked who he is."""
MAX_SESSIONS = 10_000
IDLE_S = 1800.0
MAX_TASKS = 1_000
"""Of one client; the oldest is forgotten first."""
MAX_ENDED = 50_000
"""Ids of sessions that ended here, which must not begin anew; the oldest is forgotten first."""
_RANDOM_PART = 16
"""An id begins with that many random characters."""
_LIVES = 10**8
_QUESTIONS = 10**6
"""Of one life: numbers stay below 2**53, which every JSON has."""

_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


class Session:
    """One Legacy client.

    Attributes:
        identity: whose it is.
        version: protocol revision agreed on.
        listener: collects changes, also while no stream is open.
        flights: calls under way by request id (JSON), for `notifications/cancelled`.
        log_level: index of the least severe level that the client wants to see.
        level: that level as the client named it, empty = it named none.
        capabilities: as the client declared them, JSON.
        declared: names of those that let a backend ask the client something.
        apart: the client needs sessions of its own with backends.
        questions: what it was asked and has not answered yet.
        tasks: backend of each task that it began, by the task's id.
        life: 0, or a random number where it was begun anew: the ids of its streams' events are others then.
        forward: takes messages for its GET stream, where that is open at another replica.
        kept: its own sessions with backends as other replicas opened them, by backend.
    """

    __slots__ = (
        "_budget", "_replay", "apart", "capabilities", "declared", "flights", "forward", "ident", "identity", "kept",
        "level", "life", "listener", "log_level", "questions", "streams", "tasks", "used_at", "version",
    )  # fmt: skip

    def __init__(
        self,
        ident: str,
        version: str,
        now: float,
        *,
        identity: str,
        capabilities: bytes = b"{}",
        budget: Budget | None = None,
        life: int = 0,
    ) -> None:
        self.ident = ident
        self.identity = identity
        self.life = life
        self.version = version
        self.listener = Listener()
        self.streams = 0
        self.flights: dict[bytes, Underway] = {}
        self.log_level = 0
        self.used_at = now
        self.level = ""
        self.capabilities = capabilities
        self.declared = declared_in(capabilities)
        self.apart = bool(self.declared)
        self.questions = Questions(life * _QUESTIONS + 1)
        self.forward: Callable[[bytes], None] | None = None
        self.kept: dict[str, Kept] = {}
        self.tasks: OrderedDict[str, str] = OrderedDict()
        self._budget = budget or Budget()
        self._replay: Replay | None = None

    @property
    def replay(self) -> Replay:
        """What its streams carried, from the first one on."""
        if self._replay is None:
            self._replay = Replay(self._budget, life=self.life)
        return self._replay

    def open_channel(self) -> Channel:
        """The channel of a new stream."""
        return self.replay.open()

    def began(self, task: str, backend: str) -> None:
        """The client's call goes on as a task of this backend."""
        self.tasks[task] = backend
        if len(self.tasks) > MAX_TASKS:
            self.tasks.popitem(last=False)

    async def tell(self, message: bytes) -> None:
        """As `post`."""
        self.post(message)

    def post(self, message: bytes) -> None:
        """A message outside of any call, for the GET stream."""
        if self.forward is not None:
            self.forward(message)
        else:
            self.listener.post(message)

    def end(self) -> None:
        """The client has left: its stream ends, its calls are cancelled, nobody waits for it."""
        self.listener.close()
        self.questions.close()
        for flight in tuple(self.flights.values()):
            flight.cancel("session ended")
        if self._replay is not None:
            self._replay.close()

    @property
    def busy(self) -> bool:
        """A stream is open or a call under way."""
        return bool(self.streams or self.flights)


def declared_in(capabilities: bytes) -> frozenset[str]:
    """Which of the capabilities let a backend ask the client something; none where it is no JSON object."""
    try:
        return frozenset(CAPABILITY_OF.values()) & _fields_of(capabilities).keys()
    except ValueError:
        return frozenset()


class TooManySessions(Exception):
    """Every session is in use."""


class Sessions:
    """All Legacy sessions of this process.

    Attributes:
        parted: told, in place of `ended`, of those that may go on at another replica; None = there is no other.

    Args:
        ended: told of each that is no longer here.
        is_here: whether a session of this id belongs to this process; None = there is only this one.
    """

    def __init__(
        self,
        changes: Changes,
        *,
        seal: Seal,
        limit: int = MAX_SESSIONS,
        idle_s: float = IDLE_S,
        now: Callable[[], float] = time.monotonic,
        ended: Callable[[Session], None] = lambda session: None,
        is_here: Callable[[str], bool] | None = None,
    ) -> None:
        self.parted: Callable[[Session], None] | None = None
        self._is_here = is_here
        self._changes = changes
        self._seal = seal
        self._limit = limit
        self._idle_s = idle_s
        self._now = now
        self._ended = ended
        self._budget = Budget()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def open(self, version: str, capabilities: bytes = b"{}", *, identity: str) -> Session:
        """A new session; where the limit is reached, the one idle for longest makes room.

        Raises:
            TooManySessions: none is idle.
        """
        ident = self._seal.new(identity, version, capabilities)
        while self._is_here is not None and not self._is_here(ident):
            ident = self._seal.new(identity, version, capabilities)
        return self._begin(ident, version, capabilities, identity)

    def get(self, ident: str, *, identity: str, anew: bool = True) -> Session | None:
        """The session, marked as used, or begun anew where it is not here; None where the id is not good (any more).

        Args:
            anew: False = a session that is not here is none.

        Raises:
            TooManySessions: it is not here, and there is no room for it.
        """
        session = self._sessions.get(ident)
        if session is None:
            return self._begin_anew(ident, identity) if anew else None
        if session.identity != identity:
            return None
        now = self._now()
        if self._expired(session, now):
            self._expire(session)
            return None
        session.used_at = now
        self._sessions.move_to_end(ident)
        return session

    def close(self, ident: str, *, identity: str) -> bool:
        """End the session: its stream ends, its calls are cancelled. False where the id is not good (any more)."""
        session = self._sessions.get(ident)
        if session is None:
            good = not self._has_ended(ident) and self._seal.read(ident, identity) is not None
            if good:
                self._remember(ident)
            return good
        if session.identity != identity:
            return False
        self._end(session)
        return True

    def take_over(self, session: Session) -> Listener:
        """A fresh listener for a new stream of the session; the stream before, if any, ends."""
        before = session.listener
        session.listener = before.heir()
        self._changes.remove(before)
        self._changes.add(session.listener)
        before.close()
        return session.listener

    def sweep(self) -> None:
        """Close what has been idle too long."""
        now = self._now()
        for session in [session for session in self._sessions.values() if self._expired(session, now)]:
            self._expire(session)

    def now(self) -> float:
        """The clock of `used_at`."""
        return self._now()

    def held(self, ident: str) -> Session | None:
        """The session, if it is here; not marked as used."""
        return self._sessions.get(ident)

    def is_good(self, ident: str, *, identity: str) -> bool:
        """Whether this is an id of the caller's whose session, as far as is known here, has not ended."""
        return not self._has_ended(ident) and self._seal.read(ident, identity) is not None

    def ended_elsewhere(self, ident: str) -> None:
        """The client has ended its session at another replica."""
        self._remember(ident)
        session = self._sessions.get(ident)
        if session is not None:
            self._take_out(session)

    def _begin(self, ident: str, version: str, capabilities: bytes, identity: str, *, life: int = 0) -> Session:
        if len(self._sessions) >= self._limit:
            self._make_room()
        session = Session(
            ident,
            version,
            self._now(),
            identity=identity,
            capabilities=capabilities,
            budget=self._budget,
            life=life,
        )
        self._sessions[ident] = session
        self._changes.add(session.listener)
        return session

    def _begin_anew(self, ident: str, identity: str) -> Session | None:
        sealed = None if self._has_ended(ident) else self._seal.read(ident, identity)
        if sealed is None:
            return None
        life = 1 + secrets.randbelow(_LIVES - 1)
        session = self._begin(ident, sealed.version, sealed.capabilities, identity, life=life)
        # Whatever changed since its last stream, nobody here knows: it reads the lists again.
        session.listener.tell(Changed)
        return session

    def _end(self, session: Session) -> None:
        """For good."""
        self._remember(session.ident)
        self._take_out(session)
        self._ended(session)

    def _expire(self, session: Session) -> None:
        # Elsewhere it may have been used a moment ago.
        if self.parted is None:
            self._end(session)
        else:
            self._drop(session)

    def _drop(self, session: Session) -> None:
        self._take_out(session)
        (self.parted or self._ended)(session)

    def _take_out(self, session: Session) -> None:
        del self._sessions[session.ident]
        self._changes.remove(session.listener)
        session.end()

    def _has_ended(self, ident: str) -> bool:
        return ident[:_RANDOM_PART] in self._gone

    def _remember(self, ident: str) -> None:
        self._gone[ident[:_RANDOM_PART]] = None
        if len(self._gone) > MAX_ENDED:
            self._gone.popitem(last=False)

    def _expired(self, session: Session, now: float) -> bool:
        return not session.busy and now - session.used_at > self._idle_s

    def _make_room(self) -> None:
        for _ in range(len(self._sessions)):
            session = next(iter(self._sessions.values()))
            if not session.busy:
                self._drop(session)
                return
            # In use is as good as just used; and whoever looks next finds those that are idle sooner.
            self._sessions.move_to_end(session.ident)
        raise TooManySessions
