"""Configuration is applied live, and what must not be served is not."""

import asyncio
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.speakers import LegacySpeaker
from tests.gateway.world import Running, backend, config, entry, free_port, gateway, until

from vmcp.gateway.settings import read_config


async def workloads(client: LegacySpeaker) -> set[str]:
    tools = (await client.ask("tools/list")).json()["result"]["tools"]
    return {tool["name"].rpartition("_")[0] for tool in tools}


async def lists(client: LegacySpeaker, *expected: str) -> bool:
    return await workloads(client) == set(expected)


async def test_backends_come_and_go_without_dropping_a_session(tmp_path: Path) -> None:
    with backend("a") as a, backend("b") as b:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            running.write(config(entry("a", a.url), entry("b", b.url)))
            await until(lambda: lists(client, "a", "b"))
            running.write(config(entry("b", b.url)))
            await until(lambda: lists(client, "b"))
            gone = (await client.ask("tools/call", {"name": "a_whoami", "arguments": {}})).json()
            assert gone["error"]["code"] == -32602


async def test_a_backend_that_moved_is_called_at_its_new_place(tmp_path: Path) -> None:
    with backend("old") as old, backend("new") as new:
        async with gateway(tmp_path, config(entry("a", old.url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            running.write(config(entry("a", new.url)))

            async def moved() -> bool:
                answer = await client.ask("tools/call", {"name": "a_whoami", "arguments": {}})
                return '"new"' in answer.text

            await until(moved)


async def test_a_file_that_is_no_text_changes_nothing_until_it_is_one(tmp_path: Path) -> None:
    with backend("a") as a, backend("b") as b:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            running.file.write_bytes(b"\xff\xfe")
            # It looks once a second.
            await asyncio.sleep(1.5)
            assert await lists(client, "a")
            running.write(config(entry("b", b.url)))
            await until(lambda: lists(client, "b"))


async def test_a_changed_prefix_renames_everything(tmp_path: Path) -> None:
    with backend("a") as a:
        async with gateway(tmp_path, config(entry("a", a.url))) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            aggregation = {"conflictResolutionConfig": {"prefixFormat": "team.{workload}_"}}
            running.write(config(entry("a", a.url), aggregation=aggregation))
            await until(lambda: lists(client, "team.a"))
            running.write(config(entry("a", a.url), aggregation={"conflictResolutionConfig": {"prefixFormat": ""}}))
            await until(lambda: lists(client, ""))


PROTECTED = [
    ({"incomingAuth": {"type": "oidc"}}, "incomingAuth"),
    ({"rateLimiting": {"shared": {"maxTokens": 1, "refillPeriod": "1s"}}}, "rateLimiting"),
]


@pytest.mark.parametrize(("protection", "path"), PROTECTED)
async def test_a_protection_that_is_not_built_ends_service_until_it_is_taken_back(
    tmp_path: Path, protection: dict[str, Any], path: str
) -> None:
    with backend("a") as a:
        open_to_all = config(entry("a", a.url))
        async with gateway(tmp_path, open_to_all) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            running.write({**open_to_all, **protection})
            await until(lambda: status_is(client, 503))
            ready = await running.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["status"] == "not_ready"
            assert path in ready.json()["reason"]
            assert (await running.get("/health")).status_code == 200
            running.write(open_to_all)
            await until(lambda: lists_again(client))


async def test_a_text_that_is_no_configuration_ends_service_too(tmp_path: Path) -> None:
    with backend("a") as a:
        good = config(entry("a", a.url))
        async with gateway(tmp_path, good) as running:
            client = await LegacySpeaker.open(running)
            running.file.write_text("{ nonsense: [")
            await until(lambda: status_is(client, 503))
            running.write(good)
            await until(lambda: lists_again(client))


async def test_a_backend_with_outgoing_auth_that_is_not_built_is_never_called(tmp_path: Path) -> None:
    with backend("a") as a, backend("b") as b:
        auth = {
            "source": "inline",
            "backends": {
                "b": {"type": "headerInjection", "headerInjection": {"headerName": "X-Key", "headerValue": "s3cret"}}
            },
        }
        content = config(entry("a", a.url), entry("b", b.url), outgoingAuth=auth)
        async with gateway(tmp_path, content) as running:
            client = await LegacySpeaker.open(running)
            await until(lambda: lists(client, "a"))
            answer = await client.ask("tools/call", {"name": "b_whoami", "arguments": {}})
            assert answer.json()["error"]["code"] == -32003
            assert answer.json()["error"]["data"]["status"] == "unauthenticated"
            assert "s3cret" not in answer.text
            health = (await running.get("/api/backends/health")).json()
            assert health["backends"]["b"]["Status"] == "unauthenticated"


REFUSED = [
    ("incomingAuth: {type: oidc}\nbackends: []", "incomingAuth"),
    (
        "incomingAuth: {type: anonymous}\nbackends: [{name: a, url: nope, transport: streamable-http}]",
        "backends[0].url",
    ),
    ("backends: []", "incomingAuth"),
    ("[", "YAML"),
    (
        """
        incomingAuth: {type: anonymous}
        backends:
        - {name: a, url: "http://x/mcp", transport: streamable-http}
        - {name: a, url: "http://y/mcp", transport: streamable-http}
        """,
        "backends[1].name",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_a_configuration_that_must_not_be_served_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(textwrap.dedent(text))
    ended = start(file)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert says in line


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    ended = start(tmp_path / "none.yaml")
    assert ended.returncode == 2
    assert "No such file" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


async def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, config()) as running:
        ended = start(running.file, running)
    assert ended.returncode == 2
    assert "--port" in ended.stderr


def start(file: Path, occupied: Running | None = None) -> subprocess.CompletedProcess[str]:
    port = int(occupied.origin.rpartition(":")[2]) if occupied else free_port()
    code = f"""
import sys
from pathlib import Path
from vmcp.gateway.server import run
from vmcp.gateway.settings import ServeOptions
sys.exit(run(ServeOptions(Path({json.dumps(str(file))}), port={port})))
"""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def status_is(client: LegacySpeaker, status: int) -> bool:
    return (await client.ask("ping")).status_code == status


async def lists_again(client: LegacySpeaker) -> bool:
    answer = await client.ask("tools/list")
    return answer.status_code == 200 and len(answer.json()["result"]["tools"]) == 5


def test_the_example_is_served() -> None:
    example = Path(__file__).parents[2] / "examples" / "standalone.yaml"
    assert [each.name for each in read_config(example).backends] == ["clock", "notes"]
