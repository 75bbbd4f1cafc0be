"""Speaks the attach protocol of an API server, over TLS, with a crude server as the container. There is no kubelet
here: what a real one does is seen end to end on a cluster.
"""

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import WSMsgType, web
from tests.gateway.world import free_port
from tests.stdio.proxying import HERE

from vmcp_dev.certificates import issue_keys


class ApiServer:
    """Set its attributes before a client attaches.

    Attributes:
        deaf: the container reads nothing.
        refusal: HTTP status to refuse with, 0 = none.
        frame: bytes of stdout in one frame.
        last_words: what comes on the status channel when the container ends.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.protocols: tuple[str, ...] = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        self.token = "first"
        self.refusal = 0
        self.deaf = False
        self.gone = asyncio.Event()
        self.frame = 32 * 1024
        self.last_words = json.dumps({"status": "Success", "metadata": {}})
        self.asked: list[str] = []
        self.agreed: list[str | None] = []
        self.frames: list[bytes] = []
        self.open: set[web.WebSocketResponse] = set()
        self._keys = issue_keys(folder / "keys", "127.0.0.1")
        (folder / "ca.crt").write_bytes(self._keys.authority.read_bytes())
        self.write_token("first")

    def write_token(self, token: str) -> None:
        """Replace the token that the kubelet keeps fresh in a pod."""
        (self.folder / "token").write_text(token + "\n")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{pod}/attach", self._attach)
        runner = web.AppRunner(app)
        await runner.setup()
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self._keys.server_certificate, self._keys.server_key)
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=tls).start()
        try:
            yield
        finally:
            self.gone.set()
            await runner.cleanup()

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if self.refusal:
            return web.Response(status=self.refusal)
        socket = web.WebSocketResponse(protocols=self.protocols)
        await socket.prepare(request)
        self.agreed.append(socket.ws_protocol)
        if self.deaf:
            await self.gone.wait()
            return socket
        self.open.add(socket)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "crude.py"), stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        streams = asyncio.gather(
            self._copy(process.stdout, b"\x01", socket), self._copy(process.stderr, b"\x02", socket)
        )
        ended = asyncio.create_task(self._ended(process, streams, socket))
        try:
            async for message in socket:
                assert message.type is WSMsgType.BINARY
                self.frames.append(message.data)
                if message.data[0] == 0:
                    process.stdin.write(message.data[1:])
        finally:
            # stdinOnce: the container sees the end of its input.
            process.stdin.close()
            await ended
            self.open.discard(socket)
        return socket

    async def _copy(self, stream: asyncio.StreamReader, channel: bytes, socket: web.WebSocketResponse) -> None:
        while chunk := await stream.read(self.frame):
            # Also what nobody hears any more: a pipe that is not read to its end outlives the test.
            with contextlib.suppress(ConnectionError):
                if not socket.closed:
                    await socket.send_bytes(channel + chunk)

    async def _ended(
        self, process: asyncio.subprocess.Process, streams: "asyncio.Future[object]", socket: web.WebSocketResponse
    ) -> None:
        await streams
        await process.wait()
        with contextlib.suppress(ConnectionError):
            if not socket.closed:
                await socket.send_bytes(b"\x03" + self.last_words.encode())
                await socket.close()
