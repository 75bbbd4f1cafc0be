"""A backend that dies leaves every client's lists within a moment, says why when called, and comes back by itself."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from tests.gateway.world import Running, backend, config, entry, gateway, until


async def names(client: Client) -> list[str]:
    return [tool.name for tool in (await client.list_tools()).tools]


async def lists(client: Client, *backends: str) -> bool:
    return {name.partition("_")[0] for name in await names(client)} == set(backends)


async def refusal(client: Client, tool: str, *, circuit: str) -> MCPError | None:
    """What a call to a backend that is out is answered with, while its circuit is that."""
    with pytest.raises(MCPError) as caught:
        await client.call_tool(tool, {})
    assert caught.value.code == -32003
    return caught.value if caught.value.data["circuit"] == circuit else None


@pytest.mark.parametrize("kind", ["modern", "legacy"])
async def test_a_live_legacy_client_sees_a_backend_die_and_return(tmp_path: Path, kind: str) -> None:
    heard: list[str] = []

    async def on_message(message: Any) -> None:
        heard.append(type(getattr(message, "root", message)).__name__)

    with backend("alpha", kind) as alpha, backend("beta", kind) as beta:
        content = config(entry("alpha", alpha.url), entry("beta", beta.url))
        async with (
            gateway(tmp_path, content) as running,
            Client(running.url, mode="legacy", message_handler=on_message) as client,
        ):
            await until(lambda: lists(client, "alpha", "beta"))
            heard.clear()
            beta.stop()
            await until(lambda: len(set(heard)) == 3)
            assert set(heard) == {
                "ToolListChangedNotification",
                "ResourceListChangedNotification",
                "PromptListChangedNotification",
            }
            await until(lambda: lists(client, "alpha"))

            # It may be on trial just now.
            refused: MCPError = await until(lambda: refusal(client, "beta_whoami", circuit="open"))
            assert refused.message.startswith("backend 'beta' is unavailable (circuit open), retry in ")
            data = refused.data
            assert data["backend"] == "beta"
            assert data["status"] == "unhealthy"
            assert data["retryAfterSeconds"] in (1, 2)

            heard.clear()
            beta.start()
            await until(lambda: "ToolListChangedNotification" in heard)
            await until(lambda: lists(client, "alpha", "beta"))
            assert (await client.call_tool("beta_whoami", {})).structured_content == {"result": "beta"}


async def test_a_modern_subscription_hears_of_the_flip(tmp_path: Path) -> None:
    with backend("alpha") as alpha, backend("beta") as beta:
        content = config(entry("alpha", alpha.url), entry("beta", beta.url))
        async with gateway(tmp_path, content) as running, Client(running.url, mode="2026-07-28") as client:
            await until(lambda: lists(client, "alpha", "beta"))
            async with client.listen(tools_list_changed=True) as events:
                beta.stop()
                async with asyncio.timeout(30):
                    event = await anext(aiter(events))
                assert type(event).__name__ == "ToolsListChanged"
                assert await lists(client, "alpha")


async def test_a_call_to_a_backend_that_is_out_is_answered_at_once_and_sends_nothing(tmp_path: Path) -> None:
    with backend("alpha") as alpha:
        async with gateway(tmp_path, config(entry("alpha", alpha.url))) as running:
            session = await opened(running)
            await until(lambda: listed(running, session, 5))
            alpha.stop()
            await until(lambda: listed(running, session, 0))
            call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "alpha_whoami"}}
            durations = []
            for _ in range(20):
                began = time.perf_counter()
                answer = await running.post(call, Mcp_Session_Id=session)
                durations.append(time.perf_counter() - began)
                assert answer.status_code == 200
                assert answer.json()["id"] == 7
                assert answer.json()["error"]["code"] == -32003
            # No figure of a quiet machine: only that nobody waits for the dead backend.
            assert min(durations) < 0.5


async def test_nobody_is_told_of_kinds_that_the_backend_has_not(tmp_path: Path) -> None:
    from mcp.server import MCPServer
    from tests.gateway.world import BackendServer

    def tools_only() -> Any:
        server = MCPServer("plain", version="1.0.0")

        @server.tool()
        def only() -> str:
            return "only"

        return server.streamable_http_app()

    plain = BackendServer(tools_only)
    plain.start()
    try:
        content = config(entry("plain", plain.url))
        async with gateway(tmp_path, content) as running, Client(running.url, mode="2026-07-28") as client:
            await until(lambda: lists(client, "plain"))
            listening = client.listen(tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True)
            async with listening as events:
                plain.stop()
                async with asyncio.timeout(30):
                    event = await anext(aiter(events))
                assert type(event).__name__ == "ToolsListChanged"
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await anext(aiter(events))
    finally:
        plain.stop()


async def opened(running: Running) -> str:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    answer = await running.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    return answer.headers["mcp-session-id"]


async def listed(running: Running, session: str, count: int) -> bool:
    answer = await running.post({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, Mcp_Session_Id=session)
    return len(answer.json()["result"]["tools"]) == count
