"""A reverse proxy in front of the real API server that loses, delays or refuses what a test tells it to."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from vmcp_dev.controlplane import ControlPlane


@dataclass
class Fault:
    """What happens to one PATCH: an answer of the proxy's own, or with `lose_answer` the real one is thrown away."""

    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    lose_answer: bool = False


class FaultyProxy:
    """`faults` are used up one a PATCH, in order; everything else passes."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.url = ""
        self.faults: deque[Fault] = deque()
        self.delay_s = 0.0
        self.patches: list[float] = []
        self.at_once = 0
        self.most_at_once = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.method != "PATCH":
            return await self._pass(request, body)
        self.patches.append(asyncio.get_running_loop().time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            fault = self.faults.popleft() if self.faults else None
            if fault is not None and not fault.lose_answer:
                return web.json_response({"kind": "Status"}, status=fault.status, headers=fault.headers)
            await asyncio.sleep(self.delay_s)
            answer = await self._pass(request, body)
            if fault is not None and request.transport is not None:
                request.transport.close()
            return answer
        finally:
            self.at_once -= 1

    async def _pass(self, request: web.Request, body: bytes) -> web.Response:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() in ("authorization", "content-type", "accept")
        }
        url = self.server + request.raw_path
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=body, headers=headers, ssl=False) as answer,
        ):
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


@asynccontextmanager
async def faulty_proxy(control_plane: ControlPlane, kubeconfig: Path) -> AsyncIterator[FaultyProxy]:
    """The proxy, and a kubeconfig written that leads through it."""
    config = json.loads(await asyncio.to_thread(control_plane.kubectl, "config", "view", "--raw", "-o", "json"))
    cluster = config["clusters"][0]["cluster"]
    proxy = FaultyProxy(cluster["server"])
    app = web.Application(client_max_size=16 * 1024**2)
    app.router.add_route("*", "/{tail:.*}", proxy.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    proxy.url = f"http://{host}:{port}"
    config["clusters"][0]["cluster"] = {"server": proxy.url}
    await asyncio.to_thread(kubeconfig.write_text, json.dumps(config))
    try:
        yield proxy
    finally:
        await runner.cleanup()
