"""A client that calls one tool again and again, until the call fails because the backend is out."""

import asyncio
import re
import time
from typing import Final, Self
from urllib.parse import urlsplit

from bench.gateway.load import Door

EVERY_S: Final = 0.005
_TIMEOUT_S: Final = 10.0
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_OUT: Final = b"-32003"


class Caller:
    """One kept connection to a gateway. Calls are of the Modern era: no session to open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._door = Door(parts.port or 80, parts.hostname or "", modern=True)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._door.host, self._door.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def serves(self, tool: str) -> bool:
        """Whether a call of the tool succeeds now."""
        return b'"said"' in await self._call(tool)

    async def until_out(self, tool: str) -> float:
        """When the first call was answered that failed fast, in monotonic seconds."""
        while True:
            if _OUT in await self._call(tool):
                return time.monotonic()
            await asyncio.sleep(EVERY_S)

    async def _call(self, tool: str) -> bytes:
        self._writer.write(self._door.request("tools/call", {"name": tool, "arguments": {}}, tool))
        async with asyncio.timeout(_TIMEOUT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if length is None:
                raise RuntimeError(f"no length in {head!r}")
            return await self._reader.readexactly(int(length[1]))
