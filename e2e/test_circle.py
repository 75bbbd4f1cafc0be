"""The main job: a backend breaks, its circuit opens, its tools go; it is mended, and they come back."""

import json
import time

import pytest

from e2e import faults, fleet
from e2e.conftest import Images
from e2e.scenario import Scenario
from e2e.stage import Stage
from e2e.waiting import until
from vmcp.api.status import DiscoveredBackend
from vmcp_dev.demo_client import connected

pytestmark = [pytest.mark.smoke, pytest.mark.usefixtures("operator")]

_FROM_A_POD = """
import asyncio, sys
from mcp import Client
async def main():
    async with Client(sys.argv[1]) as client:
        answer = await client.call_tool(sys.argv[2], {"text": sys.argv[3]})
        print(answer.content[0].text)
asyncio.run(main())
"""


async def test_first_gateway_serves_a_client_in_the_cluster(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.apply(fleet.group("tools"), fleet.entry("first", "tools", stage.namespace))
    await stage.backend("first", pulled.backend)
    applied = time.monotonic()
    await stage.apply(fleet.gateway("tools", "tools"))
    await scenario.until("Deployment exists", lambda: stage.get("deployment", "tools"), limit_s=30, since=applied)
    await scenario.until("Ready", lambda: stage.ready("tools"), limit_s=180, since=applied)
    await stage.reachable("tools")
    url = (await stage.status("tools")).url
    started = time.monotonic()
    pod = await stage.pod_of("first")
    # The backend's image has the official SDK: its pod is a client inside the cluster as good as any.
    client = ("/srv/venv/bin/python", "-c", _FROM_A_POD, f"{url}/mcp", "first_echo", "hi")
    said = await stage.kubectl("exec", pod["metadata"]["name"], "--", *client)
    scenario.note("SDK client in a pod: start, connect, call", time.monotonic() - started, limit=60)
    assert said.strip() == "hi"


async def test_broken_image_of_a_backend_and_back(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.serve(pulled.backend, "good", "bad")

    async with connected(await stage.url("tools"), lambda _: None) as client:
        await client.until(lambda tools: {"good_echo", "bad_echo"} <= set(tools), "both backends are listed", 30)

        await stage.kubectl("set", "image", "deployment/bad", f"mcp={faults.BROKEN_IMAGE}")
        opened = await scenario.until(
            "image broken: unavailable, circuit open", lambda: stage.is_open("tools", "bad"), limit_s=120
        )
        gone = await client.until(lambda tools: "bad_echo" not in tools, "its tools are gone", 30)
        assert opened is not None
        scenario.note("circuit open: tools gone for a live client", _after(gone, opened), limit=20)
        assert "good_echo" in client.tools
        assert await stage.phase("tools") == "Degraded"
        refusal = await client.refused("bad_echo", {"text": "?"})
        assert refusal.code == -32003, refusal
        assert "circuit open" in refusal.message
        scenario.note("call to it refused", refusal.took_ms, "ms", limit=1000)
        assert await client.call("good_echo", {"text": "still"}) == "still"

        await stage.kubectl("set", "image", "deployment/bad", f"mcp={pulled.backend}")
        closed = await scenario.until(
            "image mended: circuit closed", lambda: stage.is_closed("tools", "bad"), limit_s=180
        )
        back = await client.until(lambda tools: "bad_echo" in tools, "its tools are back", 30)
        assert closed is not None
        scenario.note("circuit closed: tools back", _after(back, closed), limit=20)
        assert await client.call("bad_echo", {"text": "again"}) == "again"

    steps = [(str(step.before), str(step.after)) for step in closed.transitions or []]
    assert ("open", "half-open") in steps, steps
    assert steps[-1] == ("half-open", "closed"), steps
    await scenario.until("Ready again", lambda: stage.ready("tools"), limit_s=60)

    async def told() -> bool:  # Events are recorded beside the status, and may come after it
        events = json.loads(await stage.kubectl("get", "events", "-o", "json"))["items"]
        return {"CircuitOpened", "CircuitHalfOpen", "CircuitClosed"} <= {event["reason"] for event in events}

    await until("every change of the circuit is an Event", told, limit_s=60)


def _after(moment: float, backend: DiscoveredBackend) -> float:
    """Seconds from the circuit's last change to a moment, in the node's time and this machine's, which are one."""
    assert backend.circuit_last_changed is not None
    return max(0.0, moment - backend.circuit_last_changed.timestamp())
