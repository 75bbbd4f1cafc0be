"""Sessions of Legacy clients: what one is told and what it is waiting for. Bounded, and gone when idle."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from vmcp.gateway.changes import Changes, Listener
from vmcp.gateway.flight import Flight

MAX_SESSIONS = 10_000
IDLE_S = 1800.0
_EVICTION_SCAN = 256


class Session:
    """One Legacy client.

    Attributes:
        version: protocol revision agreed on.
        listener: collects changes, also while no stream is open.
        flights: calls under way by request id (JSON), for `notifications/cancelled`.
        log_level: index of the least severe level that the client wants to see.
    """

    __slots__ = ("flights", "ident", "listener", "log_level", "streams", "used_at", "version")

    def __init__(self, ident: str, version: str, now: float) -> None:
        self.ident = ident
        self.version = version
        self.listener = Listener()
        self.streams = 0
        self.flights: dict[bytes, Flight] = {}
        self.log_level = 0
        self.used_at = now

    @property
    def busy(self) -> bool:
        """A stream is open or a call under way."""
        return bool(self.streams or self.flights)


class TooManySessions(Exception):
    """Every session is in use."""


class Sessions:
    """All Legacy sessions of this process."""

    def __init__(
        self,
        changes: Changes,
        *,
        limit: int = MAX_SESSIONS,
        idle_s: float = IDLE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changes = changes
        self._limit = limit
        self._idle_s = idle_s
        self._now = now
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, version: str) -> Session:
        """A new session; where the limit is reached, the one idle for longest makes room.

        Raises:
            TooManySessions: none is idle.
        """
        if len(self._sessions) >= self._limit:
            self._make_room()
        session = Session(secrets.token_hex(16), version, self._now())
        self._sessions[session.ident] = session
        self._changes.add(session.listener)
        return session

    def get(self, ident: str) -> Session | None:
        """The session, marked as used; None when unknown or expired."""
        session = self._sessions.get(ident)
        if session is None:
            return None
        now = self._now()
        if self._expired(session, now):
            self.close(ident)
            return None
        session.used_at = now
        self._sessions.move_to_end(ident)
        return session

    def close(self, ident: str) -> bool:
        """End the session: its stream ends, its calls are cancelled. False when unknown."""
        session = self._sessions.pop(ident, None)
        if session is None:
            return False
        self._changes.remove(session.listener)
        session.listener.close()
        for flight in tuple(session.flights.values()):
            flight.cancel("session ended")
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
            self.close(session.ident)

    def _expired(self, session: Session, now: float) -> bool:
        return not session.busy and now - session.used_at > self._idle_s

    def _make_room(self) -> None:
        for position, session in enumerate(self._sessions.values()):
            if not session.busy:
                self.close(session.ident)
                return
            if position >= _EVICTION_SCAN:
                break
        raise TooManySessions
