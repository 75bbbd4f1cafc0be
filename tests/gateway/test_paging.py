"""Long lists come in pages, by cursors that only we can read."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from tests.gateway.scripted import Scripted
from tests.gateway.speakers import LegacySpeaker, ModernSpeaker
from tests.gateway.world import BackendServer, config, entry, gateway, until

from vmcp.gateway.cursors import PAGE_ITEMS, cursor, page_of
from vmcp.gateway.listing import Listed

TOOLS = 2 * PAGE_ITEMS + 7


@given(st.sampled_from(Listed), st.integers(1, 10**9), st.sampled_from(Listed))
def test_a_cursor_leads_back_to_its_page_and_to_no_other_list(listed: Listed, page: int, other: Listed) -> None:
    assert page_of(listed, cursor(listed, page)) == page
    assert other is listed or page_of(other, cursor(listed, page)) is None


@given(st.text(max_size=80))
def test_what_is_no_cursor_leads_nowhere(text: str) -> None:
    page = page_of(Listed.TOOLS, text)
    assert page is None or cursor(Listed.TOOLS, page) == text


async def test_the_official_client_reads_every_page(tmp_path: Path) -> None:
    tools = ",".join(f'{{"name":"t{number}","inputSchema":{{"type":"object"}}}}' for number in range(TOOLS))
    app = Scripted({"tools/list": f'{{"tools":[{tools}]}}'.encode()}, modern=False)
    server = BackendServer(lambda: app)
    server.start()
    try:
        async with gateway(tmp_path, config(entry("a", server.url))) as running:
            speaker = await LegacySpeaker.open(running)

            async def first() -> list[Any]:
                return list((await speaker.ask("tools/list")).json()["result"]["tools"])

            assert len(await until(first)) == PAGE_ITEMS
            for mode in ("legacy", "2026-07-28"):
                async with Client(running.url, mode=mode, cache=None) as client:
                    names: list[str] = []
                    following: str | None = None
                    while following is not None or not names:
                        page = await client.list_tools(cursor=following)
                        names += [tool.name for tool in page.tools]
                        following = page.next_cursor
                assert names == [f"a_t{number}" for number in range(TOOLS)]
    finally:
        server.stop()


@pytest.mark.parametrize("text", ["x", "", cursor(Listed.PROMPTS, 1), cursor(Listed.TOOLS, 0), 7])
async def test_a_foreign_cursor_is_invalid_params(tmp_path: Path, text: object) -> None:
    async with gateway(tmp_path, config()) as running:
        for client in (await LegacySpeaker.open(running), ModernSpeaker(running)):
            answer = await client.ask("tools/list", {"cursor": text})
            assert answer.json()["error"]["code"] == -32602
