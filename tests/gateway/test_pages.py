"""The small endpoints say what the reference says, and agree with each other."""

import time
from pathlib import Path

import httpx
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import backend, config, entry, free_port, gateway, until

DETAILS = {
    "Status",
    "ConsecutiveFailures",
    "LastCheckTime",
    "LastErrorCategory",
    "LastTransitionTime",
    "CircuitState",
    "CircuitLastChanged",
    "MCPRevision",
}


async def test_status_and_backend_health_agree(tmp_path: Path) -> None:
    with backend("a") as a:
        content = config(entry("dead", f"http://127.0.0.1:{free_port()}/mcp"), entry("a", a.url))
        async with gateway(tmp_path, content) as running:

            async def judged() -> bool:
                health = (await running.get("/api/backends/health")).json()
                return health["summary"]["Healthy"] == 1 and health["summary"]["Unhealthy"] == 1

            await until(judged)
            status = (await running.get("/status")).json()
            health = (await running.get("/api/backends/health")).json()
            assert {each["name"]: each["health"] for each in status["backends"]} == {
                "a": "healthy",
                "dead": "unhealthy",
            }
            assert {name: each["Status"] for name, each in health["backends"].items()} == {
                each["name"]: each["health"] for each in status["backends"]
            }
            assert {name: each["MCPRevision"] for name, each in health["backends"].items()} == {
                each["name"]: each["mcp_revision"] for each in status["backends"]
            }
            assert status["healthy"] is False
            assert status["group_ref"] == "group"
            assert status["backends"][0] == {
                "name": "a",
                "health": "healthy",
                "transport": "streamable-http",
                "auth_type": "unauthenticated",
                "mcp_revision": "2026-07-28",
            }
            assert health["monitoring_enabled"] is True
            assert health["summary"] == {
                "Total": 2,
                "Healthy": 1,
                "Degraded": 0,
                "Unhealthy": 1,
                "Unknown": 0,
                "Unauthenticated": 0,
            }
            dead = health["backends"]["dead"]
            assert set(dead) == DETAILS
            assert dead["CircuitState"] in ("open", "half-open")
            assert dead["LastErrorCategory"] == "connect"
            assert dead["ConsecutiveFailures"] >= 2
            assert dead["CircuitLastChanged"].endswith("Z")
            assert dead["LastTransitionTime"].endswith("Z")


async def test_liveness_readiness_and_metrics(tmp_path: Path) -> None:
    with backend("a") as a:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            for path in ("/health", "/ping"):
                answer = await running.get(path)
                assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert (await running.get("/readyz")).json() == {"status": "ready", "mode": "static"}
            client = await LegacySpeaker.open(running)

            async def called() -> bool:
                answer = await client.ask("tools/call", {"name": "a_whoami", "arguments": {}})
                return "error" not in answer.text

            await until(called)
            await client.ask("tools/call", {"name": "no_such_tool", "arguments": {}})
            text = (await running.get("/metrics")).text
            assert 'vmcp_gateway_calls_total{backend="a",method="tools/call",outcome="ok"} 1.0' in text
            assert 'vmcp_gateway_calls_total{backend="",method="tools/call",outcome="unknown"}' in text
            assert "no_such_tool" not in text
            assert "vmcp_gateway_sessions 1.0" in text
            assert 'vmcp_gateway_backends{usable="true"} 1.0' in text


async def test_an_answer_does_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    async with gateway(tmp_path, config()) as running, httpx.AsyncClient() as http:
        durations = []
        for _ in range(30):
            began = time.perf_counter()
            await http.get(running.origin + "/health")
            durations.append(time.perf_counter() - began)
        # With Nagle's algorithm on, every one of them takes 40 ms or more; the best of many shows it on any machine.
        assert min(durations[1:]) < 0.035
