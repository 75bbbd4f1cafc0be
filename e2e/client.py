"""What a fresh client of the official SDK gets of a gateway, which acts on a status a moment after it is written."""

from mcp import Client

from e2e.waiting import until

_READ_SECONDS = 15.0
_ACTS_SECONDS = 60.0


async def listed(url: str) -> set[str]:
    """The names of the tools on the first page."""
    async with Client(url, cache=None, read_timeout_seconds=_READ_SECONDS) as client:
        return {tool.name for tool in (await client.list_tools()).tools}


async def echoes(url: str, tool: str, text: str) -> bool:
    """Whether an `echo` tool gives the text back; False while the call fails."""
    try:
        async with Client(url, cache=None, read_timeout_seconds=_READ_SECONDS) as client:
            answer = await client.call_tool(tool, {"text": text})
    except Exception:
        return False
    return bool(answer.content) and answer.content[0].type == "text" and answer.content[0].text == text


async def in_use(url: str, tool: str, text: str = "hello") -> None:
    """Return as soon as the `echo` tool answers."""
    await until(f"{tool} answers {text!r}", lambda: echoes(url, tool, text), limit_s=_ACTS_SECONDS)


async def out_of_use(url: str, tool: str) -> None:
    """Return as soon as the tool is not listed."""

    async def gone() -> bool:
        return tool not in await listed(url)

    await until(f"{tool} is not listed", gone, limit_s=_ACTS_SECONDS)
