"""The MCP client of the demo: the official SDK, connected once, told by the gateway when the tools change."""

import asyncio
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mcp import Client, MCPError
from mcp.client.subscriptions import SubscriptionLost

from vmcp_dev.demo_view import DemoFailed

_AGAIN_SECONDS = 0.5
_READ_SECONDS = 30.0
_CONNECT_SECONDS = 60.0
_ANSWER_LENGTH = 75


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that was answered with a JSON-RPC error, and how long that took."""

    code: int
    message: str
    took_ms: float


class DemoClient:
    """One connection to the gateway.

    Attributes:
        tools: the names it was given at the last listing.
        told: how often the gateway said that the tools changed.
    """

    def __init__(self, client: Client, on_tools: Callable[[tuple[str, ...]], None]) -> None:
        self.tools: tuple[str, ...] = ()
        self.told = 0
        self._client = client
        self._on_tools = on_tools
        self._listed = asyncio.Condition()

    @property
    def revision(self) -> str:
        """The protocol revision that it speaks with the gateway."""
        return self._client.protocol_version

    async def follow(self) -> None:
        """List the tools now and whenever the gateway says that they changed, until cancelled."""
        while True:
            try:
                async with self._client.listen(tools_list_changed=True) as changes:
                    await self._list()  # what changed while nobody listened
                    async for _ in changes:
                        self.told += 1
                        await self._list()
            except SubscriptionLost:
                pass
            await asyncio.sleep(_AGAIN_SECONDS)

    async def until(self, met: Callable[[tuple[str, ...]], bool], what: str, timeout_seconds: float) -> float:
        """When the tools are first so, in seconds since the epoch.

        Raises:
            DemoFailed: they are not in time; `what` says what was waited for.
        """
        try:
            async with asyncio.timeout(timeout_seconds), self._listed:
                await self._listed.wait_for(lambda: met(self.tools))
        except TimeoutError:
            message = f"{what} did not happen within {timeout_seconds:g} s; the client sees {len(self.tools)} tools"
            raise DemoFailed(message) from None
        return time.time()

    async def call(self, tool: str, arguments: dict[str, str]) -> str:
        """The beginning of the tool's answer.

        Raises:
            DemoFailed: it is an error.
        """
        try:
            answer = await self._client.call_tool(tool, arguments, read_timeout_seconds=_READ_SECONDS)
        except MCPError as error:
            raise DemoFailed(f"{tool} failed: {error.code} {error.message}") from None
        text = " ".join(block.text for block in answer.content if block.type == "text")
        if answer.is_error:
            raise DemoFailed(f"{tool} failed: {text}")
        return textwrap.shorten(text, _ANSWER_LENGTH, placeholder=" …")

    async def refused(self, tool: str, arguments: dict[str, str]) -> Refusal:
        """Call a tool whose backend is out.

        Raises:
            DemoFailed: it is answered all the same.
        """
        started = time.perf_counter()
        try:
            await self._client.call_tool(tool, arguments, read_timeout_seconds=_READ_SECONDS)
        except MCPError as error:
            return Refusal(error.code, error.message, (time.perf_counter() - started) * 1000)
        raise DemoFailed(f"{tool} was answered although its backend is out")

    async def _list(self) -> None:
        listed = await self._client.list_tools()
        self.tools = tuple(sorted(tool.name for tool in listed.tools))
        self._on_tools(self.tools)
        async with self._listed:
            self._listed.notify_all()


@asynccontextmanager
async def connected(url: str, on_tools: Callable[[tuple[str, ...]], None]) -> AsyncIterator[DemoClient]:
    """A client that has listed the tools once and follows their changes."""
    async with (
        Client(url, mode="auto", cache=None, read_timeout_seconds=_READ_SECONDS) as session,
        asyncio.TaskGroup() as tasks,
    ):
        client = DemoClient(session, on_tools)
        following = tasks.create_task(client.follow(), name="tools")
        await client.until(bool, "the first listing of tools", _CONNECT_SECONDS)
        yield client
        following.cancel()
