"""Replicas that share a storage: a client goes on with its session at another one as if it had been there all along.

A session may be held by several replicas at once. What must outlive each of them (`memory`) is in the storage, covered
by the key of the session ids. What concerns the moment (an answer, a cancellation, a message for the client's stream)
is told to all, and whoever it is for acts on it. While the storage is away each replica goes on by itself.
"""

import asyncio
import hashlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import msgspec

from vmcp.gateway.ask import LOG_LEVELS
from vmcp.gateway.outside import Outside
from vmcp.gateway.seal import MAX_AGE_S, Seal
from vmcp.gateway.sessions import IDLE_S, Session, Sessions
from vmcp.gateway.sharing.memory import Memory
from vmcp.gateway.sharing.storage import Storage
from vmcp.mcp import jsonrpc
from vmcp.mcp.jsonrpc import Message

log = logging.getLogger(__name__)

TTL_S: Final = IDLE_S - 60
"""Nobody has used the session for that long: then the replica whose session ends ends it at the backends."""
MAX_MEMORY_BYTES: Final = 256 * 1024
MAX_UNTOLD: Final = 10_000
"""Sessions that ended while the storage was away; the oldest is forgotten first."""
_CHUNK: Final = 500
_NEWS: Final = "news"
_SAID, _POSTED, _LISTENS, _SILENT, _CHANGED, _ENDED = "said", "posted", "listens", "silent", "changed", "ended"


class _News(msgspec.Struct, array_like=True, frozen=True):
    kind: str
    sender: bytes
    ident: str
    message: bytes = b""


_decode_news = msgspec.msgpack.Decoder(_News).decode
_decode_memory = msgspec.msgpack.Decoder(Memory).decode


class Replicas:
    """This replica among the others.

    Attributes:
        said: takes what a client said at another replica.

    Args:
        tasks: owns what is looked up because of news.
    """

    def __init__(
        self, storage: Storage, *, seal: Seal, sessions: Sessions, outside: Outside, tasks: asyncio.TaskGroup
    ) -> None:
        self.said: Callable[[Session, Message], object] = lambda session, message: None
        self._storage = storage
        self._seal = seal
        self._sessions = sessions
        self._outside = outside
        self._tasks = tasks
        self._myself = secrets.token_bytes(8)
        self._touched_at = 0.0
        self._untold: deque[str] = deque(maxlen=MAX_UNTOLD)

    async def find(self, ident: str, identity: str) -> Session | None:
        """The session, begun here with what others knew of it; None where it has ended or never was.

        Raises:
            TooManySessions: there is no room for it.
        """
        if not self._sessions.is_good(ident, identity=identity):
            return None
        ended, remembered = await self._storage.read(_ended_key(ident), _key(ident))
        if ended is not None:
            self._sessions.ended_elsewhere(ident)
            return None
        # Another request may have begun it meanwhile.
        session = self._sessions.get(ident, identity=identity, anew=False)
        if session is None:
            session = self._sessions.get(ident, identity=identity)
            if session is not None and remembered is not None:
                self._recall(session, remembered)
        return session

    async def remember(self, session: Session) -> None:
        """Something changed that outlives this process. Returns within moments, whatever happens."""
        key = _key(session.ident)
        written = None
        # Of two writes under way, the older may be the last to arrive.
        while written != (content := msgspec.msgpack.encode(self._outside.memory(session))):
            if len(content) > MAX_MEMORY_BYTES:
                log.warning("a session holds %d bytes: too much to share", len(content))
                return
            if not await self._storage.write(key, self._seal.cover(content, key), ttl_s=TTL_S):
                return
            written = content
            if self._sessions.held(session.ident) is not session:
                # What it is now is no longer ours to say.
                break
        self._tell(_CHANGED, session.ident)

    async def end(self, ident: str) -> None:
        """The client has ended its session: it is good nowhere any more."""
        if not await self._storage.write(_ended_key(ident), b"1", ttl_s=MAX_AGE_S):
            self._untold.append(ident)
            return
        self._tell(_ENDED, ident)
        await self._storage.delete(_key(ident))

    def tell_said(self, session: Session, message: Message) -> None:
        """The client said something here that concerns another replica, if anybody."""
        self._tell(_SAID, session.ident, message.raw)

    def listens(self, session: Session) -> None:
        """The client's GET stream is here from now on."""
        session.forward = None
        self._tell(_LISTENS, session.ident)

    def silent(self, session: Session) -> None:
        """The client's GET stream is here no longer."""
        if session.forward is None:
            self._tell(_SILENT, session.ident)

    def parted(self, session: Session) -> None:
        """The session is not held here any more; somebody else may hold it."""
        self._begin(self._part(session.ident))

    async def sweep(self) -> None:
        """Keep what is in use."""
        since, self._touched_at = self._touched_at, self._sessions.now()
        keys = [
            _key(session.ident)
            for session in self._sessions
            if session.apart and (session.busy or session.used_at >= since)
        ]
        for start in range(0, len(keys), _CHUNK):
            await self._storage.touch(keys[start : start + _CHUNK], ttl_s=TTL_S)

    async def run(self) -> None:
        """Hear the others until cancelled."""
        await self._storage.run(self._heard, self._present)

    async def close(self) -> None:
        """Let go of the storage."""
        await self._storage.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(_guarded(work))

    async def _part(self, ident: str) -> None:
        _, kept = await self._storage.read(_ended_key(ident), _key(ident))
        self._outside.parted(ident, in_use=kept is not None)

    def _present(self) -> None:
        self._begin(self._catch_up())

    async def _catch_up(self) -> None:
        """The storage was away: what ended meanwhile has ended everywhere, what changed here is remembered."""
        # The storage may come and go: then several of us are at it.
        while self._untold and self._storage.present:
            await self.end(self._untold.popleft())
        idents = [session.ident for session in self._sessions]
        for start in range(0, len(idents), _CHUNK):
            chunk = idents[start : start + _CHUNK]
            for ident, ended in zip(chunk, await self._storage.read(*map(_ended_key, chunk)), strict=True):
                if ended is not None:
                    self._end_here(ident)
        for session in self._sessions:
            if session.apart:
                await self.remember(session)

    def _tell(self, kind: str, ident: str, message: bytes = b"") -> None:
        if self._storage.present:
            news = msgspec.msgpack.encode(_News(kind, self._myself, ident, message))
            self._storage.tell(self._seal.cover(news, _NEWS))

    def _heard(self, data: bytes) -> None:
        try:
            self._hear(data)
        except Exception:
            # Another version's, perhaps: it must not end this one.
            log.exception("news of another replica could not be taken")

    def _hear(self, data: bytes) -> None:
        content = self._seal.uncover(data, _NEWS)
        if content is None:
            # Another gateway's, under the same prefix.
            return
        news = _decode_news(content)
        session = self._sessions.held(news.ident)
        if news.sender == self._myself or session is None:
            return
        match news.kind:
            case "said":
                self.said(session, jsonrpc.decode(news.message))
            case "posted":
                if session.forward is None and session.streams:
                    session.listener.post(news.message)
            case "listens":
                session.forward = partial(self._tell, _POSTED, news.ident)
                for message in session.listener.messages():
                    session.forward(message)
                # The newer stream of a session ends the older.
                session.listener.close()
            case "silent":
                session.forward = None
            case "changed":
                self._begin(self._recall_again(session))
            case "ended":
                self._end_here(news.ident)

    def _end_here(self, ident: str) -> None:
        # Whoever was told by the client ends it at the backends.
        self._outside.parted(ident, in_use=True)
        self._sessions.ended_elsewhere(ident)

    async def _recall_again(self, session: Session) -> None:
        (remembered,) = await self._storage.read(_key(session.ident))
        if remembered is not None and self._sessions.held(session.ident) is session:
            self._recall(session, remembered)

    def _recall(self, session: Session, remembered: bytes) -> None:
        content = self._seal.uncover(remembered, _key(session.ident))
        if content is None:
            return
        try:
            memory = _decode_memory(content)
        except msgspec.MsgspecError:
            # Written by another version: the session begins anew.
            return
        session.level = memory.level
        session.log_level = LOG_LEVELS.index(memory.level) if memory.level in LOG_LEVELS else 0
        session.apart = session.apart or memory.apart
        for task, backend in memory.tasks.items():
            session.began(task, backend)
        self._outside.recall(session, memory)


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("a shared session could not be followed")


def _key(ident: str) -> str:
    # The id itself would let whoever reads the storage be the client.
    return "session:" + hashlib.sha256(ident.encode()).hexdigest()[:40]


def _ended_key(ident: str) -> str:
    return "ended:" + hashlib.sha256(ident.encode()).hexdigest()[:40]
