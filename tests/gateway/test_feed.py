"""A feed follows its backend in and out of use, however quickly that changes."""

import asyncio

from tests.gateway.world import until

from vmcp.api.gatewayconfig import GatewayBackend
from vmcp.gateway.feed import Feed
from vmcp.gateway.upstream import Upstream
from vmcp.mcp.backend import Address, Backend
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.http import HttpTransport

# The guard refuses it, so that nothing leaves the machine.
URL = "http://127.0.0.1:1/mcp"


def feed() -> Feed:
    config = GatewayBackend.model_validate({"name": "a", "url": URL, "transport": "streamable-http"})
    backend = Backend(HttpTransport(guard=AddressGuard()), Address(URL), client_name="t", client_version="0")
    return Feed(Upstream(config, backend, fingerprint="f", timeout_s=1), lambda name, listed, items: None)


async def test_a_backend_may_go_in_and_out_of_use_at_any_moment() -> None:
    for turns in range(10):
        it = feed()
        task = asyncio.create_task(it.run())
        await until(lambda it=it: it.failure)
        it.usability(False)
        # So many turns of the loop later its tasks are about to end, or have ended.
        for _ in range(turns):
            await asyncio.sleep(0)
        it.usability(True)
        it.usability(False)
        assert not it.failure
        it.usability(True)
        await until(lambda it=it: it.failure)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
