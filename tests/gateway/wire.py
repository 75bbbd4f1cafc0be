"""One HTTP/1.1 connection of a client, byte by byte: what an HTTP library hides would be what is looked for."""

import asyncio
import json
from typing import Any

Message = dict[str, Any]

JSON_HEADERS = {
    "host": "localhost",
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
}


class Wire:
    """A connection; requests go out in order, and answers come in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, origin: str) -> "Wire":
        host, _, port = origin.removeprefix("http://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port), limit=2**20))

    async def ask(self, message: Any, **headers: str) -> list[Message]:
        """All messages of the answer to a message; header names with `_` for `-`."""
        self.send(message, **headers)
        return (await self.receive())[2]

    def send(self, message: Any, *, method: str = "POST", **headers: str) -> None:
        body = b"" if message is None else json.dumps(message).encode()
        given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        lines = [f"{method} /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in (JSON_HEADERS | given).items())]
        self._writer.write("\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body)

    async def receive(self) -> tuple[int, dict[str, str], list[Message]]:
        """Status, headers and messages of the next answer."""
        status, headers = await self.head()
        if "transfer-encoding" not in headers:
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return status, headers, [json.loads(body)] if body else []
        text = b""
        while chunk := await self.chunk():
            text += chunk
        return status, headers, messages_of(text)

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split(" ")[1]), headers

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:size]

    def close(self) -> None:
        self._writer.close()


def messages_of(text: bytes) -> list[Message]:
    """The messages of (part of) an event stream."""
    return [json.loads(line.removeprefix(b"data: ")) for line in text.splitlines() if line.startswith(b"data: {")]
