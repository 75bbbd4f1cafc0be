"""Aggregation as clients see it: a hidden tool is neither listed nor called, a renamed one is called by its name."""

from pathlib import Path
from typing import Any

import pytest
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.world import Running, backend, config, entry, gateway, until


async def tools(running: Running) -> dict[str, Any]:
    answer = await ModernSpeaker(running).ask("tools/list")
    return {tool["name"]: tool for tool in answer.json()["result"]["tools"]}


async def listed(running: Running, *names: str) -> dict[str, Any]:
    async def there() -> list[dict[str, Any]]:
        found = await tools(running)
        return [found] if set(names) == found.keys() else []

    (found,) = await until(there)
    assert isinstance(found, dict)
    return found


async def test_hidden_renamed_and_contested_tools(tmp_path: Path) -> None:
    aggregation = {
        "conflictResolution": "priority",
        "conflictResolutionConfig": {"priorityOrder": ["beta"]},
        "tools": [
            {
                "workload": "alpha",
                "filter": ["add", "whoami"],
                "overrides": {"add": {"name": "plus", "description": "Sums.", "annotations": {"readOnlyHint": True}}},
            },
            {"workload": "beta", "filter": ["whoami", "fail"]},
        ],
    }
    with backend("alpha") as alpha, backend("beta", "legacy") as beta:
        content = config(entry("alpha", alpha.url), entry("beta", beta.url), aggregation=aggregation)
        async with gateway(tmp_path, content) as running:
            found = await listed(running, "whoami", "fail", "plus")
            assert found["plus"]["description"] == "Sums."
            assert found["plus"]["annotations"] == {"readOnlyHint": True}
            for speaker in (await LegacySpeaker.open(running), ModernSpeaker(running)):
                asked: Any = speaker
                called = await asked.ask("tools/call", {"name": "plus", "arguments": {"a": 1, "b": 2}})
                assert called.json()["result"]["structuredContent"] == {"result": 3}
                called = await asked.ask("tools/call", {"name": "whoami", "arguments": {}})
                assert called.json()["result"]["structuredContent"] == {"result": "beta"}
                for hidden in ("add", "slow", "count", "alpha_whoami"):
                    refused = await asked.ask("tools/call", {"name": hidden, "arguments": {}})
                    assert refused.json()["error"]["code"] == -32602
            await tools(running)
            metrics = (await running.get("/metrics")).text
            assert 'vmcp_gateway_list_items{list="tools"} 3.0' in metrics
            assert 'vmcp_gateway_list_items_left_out{list="tools"} 1.0' in metrics
            assert 'vmcp_gateway_lists_total{cache="hit",list="tools"}' in metrics

            content["aggregation"] = {"excludeAllTools": True}
            running.write(content)
            await listed(running)
            speaker = ModernSpeaker(running)
            refused = await speaker.ask("tools/call", {"name": "alpha_add", "arguments": {}})
            assert refused.json()["error"]["code"] == -32602

            async def prompts() -> bool:
                found = (await speaker.ask("prompts/list")).json()["result"]["prompts"]
                return sorted(prompt["name"] for prompt in found) == ["alpha_greet", "beta_greet"]

            await until(prompts)


@pytest.mark.parametrize("hides", [{"excludeAllTools": True}, {"tools": [{"workload": "late", "excludeAll": True}]}])
async def test_a_hidden_tool_of_a_backend_that_never_answered_is_unknown(tmp_path: Path, hides: dict[str, Any]) -> None:
    with backend("alpha") as alpha:
        content = config(entry("alpha", alpha.url), entry("late", "http://127.0.0.1:1/mcp"), aggregation=hides)
        async with gateway(tmp_path, content) as running:
            answer = await ModernSpeaker(running).ask("tools/call", {"name": "late_x", "arguments": {}})
            assert answer.json()["error"]["code"] == -32602
            answer = await ModernSpeaker(running).ask("prompts/get", {"name": "late_x", "arguments": {}})
            assert answer.json()["error"]["code"] == -32003
