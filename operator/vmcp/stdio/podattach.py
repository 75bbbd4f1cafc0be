"""Attaches to a container over the Kubernetes API: a WebSocket with one channel each for stdin, stdout and stderr.

The container has `stdinOnce: true`: when the attach ends, however it ends, the server sees the end of its stdin and
exits, and the kubelet starts a fresh one. So no session ever goes on where another one left it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp

from vmcp.stdio.attach import Attach, AttachError, Source
from vmcp.stdio.cancelling import is_cancelled
from vmcp.stdio.cluster import Cluster, ClusterError
from vmcp.stdio.stderr import Stderr, printable

V5: Final = "v5.channel.k8s.io"
V4: Final = "v4.channel.k8s.io"
STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
STATUS: Final = 3
CLOSED: Final = 255
"""Version 5 only: the channel whose number follows has ended."""
FRAME_BYTES: Final = 32 * 1024
"""As much as kubectl sends at once."""
MOST_FRAME_BYTES: Final = 4 * 1024 * 1024
HEARTBEAT_S: Final = 60.0
"""WebSocket pings: a node that is cut off sends no end of anything."""
CLOSE_S: Final = 2.0
MOST_REASON_CHARS: Final = 300

_HINTS: Final = {
    401: "the account's token is not accepted",
    403: "the account may not `get` and `create` pods/attach of this pod",
    404: "there is no such pod",
}


@dataclass(frozen=True, slots=True)
class Container:
    """Which one."""

    namespace: str
    pod: str
    name: str


class PodContainer(Source):
    """A container that the kubelet runs."""

    def __init__(self, cluster: Cluster, container: Container) -> None:
        self._cluster = cluster
        self._container = container

    async def open(self) -> Attach:
        """Attach to it, whatever it has done since it started."""
        try:
            login = self._cluster.login()
        except ClusterError as error:
            raise AttachError(str(error)) from None
        session = aiohttp.ClientSession()
        try:
            socket = await session.ws_connect(
                login.server.rstrip("/") + self._path(),
                headers=login.headers,
                ssl=login.tls,
                protocols=(V5, V4),
                heartbeat=HEARTBEAT_S,
                max_msg_size=MOST_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
            )
            if socket.protocol is None:
                await socket.close()
                raise AttachError(f"the API server speaks neither {V5} nor {V4}")
        except aiohttp.WSServerHandshakeError as error:
            await session.close()
            hint = _HINTS.get(error.status, "the container may not be running")
            raise AttachError(f"attaching was answered with HTTP {error.status}: {hint}") from None
        except (aiohttp.ClientError, OSError) as error:
            await session.close()
            raise AttachError(f"the API server cannot be reached ({type(error).__name__})") from None
        except BaseException:
            await session.close()
            raise
        return _PodAttach(session, socket)

    def _path(self) -> str:
        pod = self._container
        query = {"container": pod.name, "stdin": "true", "stdout": "true", "stderr": "true"}
        return f"/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.pod)}/attach?{urlencode(query)}"


class _PodAttach(Attach):
    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket
        self._stderr = Stderr()

    async def output(self) -> AsyncGenerator[bytes, None]:
        """The channel of stdout."""
        reason = "the container ended, or the connection to it broke"
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            data: bytes = message.data
            match data[0]:
                case 1:
                    yield data[1:]
                case 2:
                    self._stderr.feed(data[1:])
                case 3:
                    reason = _reason(data[1:]) or reason
        raise AttachError(reason)

    async def write(self, data: bytes) -> None:
        """To the channel of stdin."""
        try:
            for start in range(0, len(data), FRAME_BYTES):
                await self._socket.send_bytes(bytes((STDIN,)) + data[start : start + FRAME_BYTES])
        except (aiohttp.ClientError, ConnectionError):
            raise AttachError("the connection to the container broke") from None

    async def close(self) -> None:
        """End the stream of stdin, where there are words for it, and the connection."""
        try:
            with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                async with asyncio.timeout(2 * CLOSE_S):
                    if self._socket.protocol == V5:
                        await self._socket.send_bytes(bytes((CLOSED, STDIN)))
                    await self._socket.close()
        except asyncio.CancelledError:
            if is_cancelled():
                raise
        finally:
            await self._session.close()


def _reason(status: bytes) -> str:
    """What the API server says of the end of the stream; empty where it says nothing."""
    try:
        content = json.loads(status)
        said = str(content.get("message") or "")
    except (ValueError, AttributeError):
        said = status.decode("utf-8", "replace")
    return printable(said.encode())[:MOST_REASON_CHARS]
