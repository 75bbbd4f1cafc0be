"""A stdio server on the official SDK that asks its clients back, tells of progress, logs, and can be seen to stop."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, ListRoots, Resolve, Sample
from mcp_types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("talking", version="1.0.0", instructions="Ask me.")


class Word(BaseModel):
    word: str


def _note(file: str, text: str) -> None:
    Path(file).write_text(text)


def _ask_word() -> Elicit[Word]:
    return Elicit("Which word?", Word)


def _ask_model() -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(type="text", text="say"))], max_tokens=9)


def _ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def elicit(answer: Annotated[ElicitationResult[Word], Resolve(_ask_word)]) -> str:
    return f"{answer.action} {answer.data.word}" if answer.action == "accept" else answer.action


@server.tool()
def sample(answer: Annotated[CreateMessageResult, Resolve(_ask_model)]) -> str:
    assert isinstance(answer.content, TextContent)
    return answer.content.text


@server.tool()
def roots(answer: Annotated[ListRootsResult, Resolve(_ask_roots)]) -> str:
    return " ".join(str(root.uri) for root in answer.roots)


@server.tool()
async def count(ctx: Context, to: int) -> str:  # type: ignore[type-arg]
    for step in range(to):
        await ctx.report_progress(step, to, f"step {step}")
    return "counted"


@server.tool()
async def say(ctx: Context, text: str) -> str:  # type: ignore[type-arg]
    await ctx.log("warning", text)
    return "said"


@server.tool()
async def change(ctx: Context) -> str:  # type: ignore[type-arg]
    await ctx.session.send_tool_list_changed()
    return "changed"


@server.tool()
async def wait(seconds: float, noted: str) -> str:
    """Notes in a file that it has begun, and how it ended."""
    _note(noted, "begun")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _note(noted, "cancelled")
        raise
    return "waited"


@server.tool()
def pid() -> int:
    return os.getpid()


@server.resource("talking://doc")
def doc() -> str:
    return "content"


if __name__ == "__main__":
    server.run("stdio")
