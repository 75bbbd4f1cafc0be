"""A gateway's pod is replaced: its clients go on with their sessions, for every pod has the same key."""

import asyncio
from typing import Any

import httpx
from tests.integration.stage import OperatorProcess, Stage, entry, eventually, gateway, group, mcp_backends

from vmcp_dev.runnerthread import RunnerThread

HEAD = {"Accept": "application/json, text/event-stream"}


async def test_a_session_outlives_the_pod_that_it_began_at(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    with mcp_backends("alpha") as backends:
        stage.apply(group(), *(entry(name, backend.url) for name, backend in backends.items()), gateway())
        await asyncio.to_thread(eventually, lambda: stage.status("front")["phase"] == "Ready")
        first = local_runner.wait_address(stage.namespace, "front")
        session = (await _post(first, _initialize())).headers["mcp-session-id"]
        pod = stage.every("pods")[0]["metadata"]["name"]
        stage.delete("pod", pod)
        await asyncio.to_thread(eventually, lambda: not stage.exists("pod", pod))
        second = await asyncio.to_thread(eventually, lambda: _other(local_runner, stage.namespace, first))
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        call["params"] = {"name": "alpha_echo", "arguments": {"text": "still here"}}
        answer = await _until_answered(second, call, session)
        assert "still here" in answer.text
        ended = await _delete(second, session)
        assert ended == 200
        assert (await _post(second, call, session)).status_code == 404


def _initialize() -> dict[str, Any]:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


def _other(runner: RunnerThread, namespace: str, before: str) -> str:
    address = runner.wait_address(namespace, "front")
    return address if address != before else ""


async def _post(address: str, message: dict[str, Any], session: str = "") -> httpx.Response:
    head = HEAD | ({"Mcp-Session-Id": session} if session else {})
    async with httpx.AsyncClient(timeout=30) as http:
        return await http.post(f"{address}/mcp", json=message, headers=head)


async def _until_answered(address: str, call: dict[str, Any], session: str) -> httpx.Response:
    """Once the new pod has read its backends' lists."""
    async with asyncio.timeout(60):
        while True:
            answer = await _post(address, call, session)
            assert answer.status_code == 200, answer.text
            if "error" not in answer.json():
                return answer
            await asyncio.sleep(0.1)


async def _delete(address: str, session: str) -> int:
    async with httpx.AsyncClient(timeout=30) as http:
        return (await http.delete(f"{address}/mcp", headers={"Mcp-Session-Id": session})).status_code
