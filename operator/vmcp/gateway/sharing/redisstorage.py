"""Storage in Redis: keys that expire, and one channel for what the replicas tell each other.

Whatever the library raises means that Redis is away: besides its own errors that may be a RuntimeError of a connection
that was closed under it, and none of them may end a gateway.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from vmcp.gateway.sharing.storage import WAIT_S, Storage

log = logging.getLogger(__name__)

CONNECTIONS: Final = 16
"""Requests under way at once."""
MAX_NEWS: Final = 1_000
"""Waiting to be told; the oldest is lost first."""
SIGN_OF_LIFE_S: Final = 5.0
"""A channel that is silent for longer is asked whether it lives."""
FIRST_RETRY_S: Final = 0.25
LAST_RETRY_S: Final = 5.0
_CHANNEL: Final = "news"


class RedisStorage(Storage):
    """One database of one server.

    Args:
        prefix: what every key starts with, and the channel too.
    """

    def __init__(self, host: str, port: int, *, db: int, password: str, prefix: str) -> None:
        super().__init__()
        self._address = f"{host}:{port}"
        self._redis = Redis(
            host=host,
            port=port,
            db=db,
            password=password or None,
            socket_timeout=WAIT_S,
            socket_connect_timeout=WAIT_S,
            # And one for the channel. The library refuses what would need more, as if Redis were away.
            max_connections=CONNECTIONS + 1,
            # A repetition is a wait for a client; the next request finds out by itself.
            retry=Retry(NoBackoff(), 0),
            client_name="vmcp-gateway",
        )
        self._prefix = prefix
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._present = False
        self._settled = asyncio.Event()
        self._complained = False
        self._news: deque[bytes] = deque(maxlen=MAX_NEWS)
        self._arrived = asyncio.Event()

    @property
    def present(self) -> bool:
        """The channel is open, and the last request was answered."""
        return self._present

    async def read(self, *keys: str) -> Sequence[bytes | None]:
        """As `Storage`."""
        found = await self._ask(lambda: self._redis.mget([self._prefix + key for key in keys])) if keys else None
        return [None] * len(keys) if found is None else found

    async def write(self, key: str, value: bytes, *, ttl_s: float) -> bool:
        """As `Storage`."""
        return await self._ask(lambda: self._redis.set(self._prefix + key, value, px=round(ttl_s * 1000))) is not None

    async def touch(self, keys: Sequence[str], *, ttl_s: float) -> None:
        """As `Storage`."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.pexpire(self._prefix + key, round(ttl_s * 1000))
        if keys:
            await self._ask(pipeline.execute)

    async def delete(self, key: str) -> None:
        """As `Storage`."""
        await self._ask(lambda: self._redis.delete(self._prefix + key))

    def tell(self, news: bytes) -> None:
        """As `Storage`."""
        if self._present:
            self._news.append(news)
            self._arrived.set()

    async def run(self, heard: Callable[[bytes], None], present: Callable[[], None]) -> None:
        """As `Storage`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_telling())
            tasks.create_task(self._keep_hearing(heard, present))

    async def close(self) -> None:
        """As `Storage`."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._redis.aclose()
        except Exception:
            # It was not there to say goodbye to.
            return

    async def _keep_telling(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._news:
                news = self._news.popleft()
                await self._ask(partial(self._redis.publish, self._prefix + _CHANNEL, news))

    async def _keep_hearing(self, heard: Callable[[bytes], None], present: Callable[[], None]) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            channel = self._redis.pubsub()
            try:
                async with asyncio.timeout(2 * WAIT_S):
                    await channel.subscribe(self._prefix + _CHANNEL)
                    while await channel.get_message(timeout=WAIT_S) is None:
                        pass
                retry_s = FIRST_RETRY_S
                await self._hear(channel, heard, present)
            except Exception as error:
                self._is_away(error)
            finally:
                await self._leave(channel)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def _hear(self, channel: Any, heard: Callable[[bytes], None], present: Callable[[], None]) -> None:
        self._is_present(present)
        asked = False
        while True:
            message = await channel.get_message(timeout=SIGN_OF_LIFE_S)
            if message is None:
                if asked:
                    raise TimeoutError
                asked = True
                await channel.ping()
                continue
            asked = False
            # Whatever it says, it is there.
            self._is_present(present)
            if message["type"] == "message":
                heard(message["data"])

    async def _leave(self, channel: Any) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await channel.aclose()
        except Exception:
            return

    async def _ask(self, request: Callable[[], Awaitable[Any]]) -> Any:
        """Redis' answer; None when there is none within `WAIT_S`, and at once while it is away."""
        try:
            async with asyncio.timeout(WAIT_S):
                # At the start nobody knows yet.
                await self._settled.wait()
                async with self._turns:
                    return await request() if self._present else None
        except Exception as error:
            self.on_failure()
            self._is_away(error)
            return None

    def _is_present(self, present: Callable[[], None]) -> None:
        if not self._present:
            self._present, self._complained = True, False
            self._settled.set()
            log.info("sessions are shared over Redis at %s", self._address)
            present()

    def _is_away(self, error: Exception) -> None:
        self._present = False
        self._settled.set()
        if not self._complained:
            self._complained = True
            why = "the password is refused" if isinstance(error, AuthenticationError) else type(error).__name__
            told = "Redis at %s does not answer (%s): sessions go on here, and are not shared meanwhile"
            log.warning(told, self._address, why)
