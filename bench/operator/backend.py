"""Every backend of the fleet at once: one cheap server on all of 127.0.0.0/8, each address a backend of its own.

Commands come as lines on stdin, each is answered by one line of JSON: `fail ADDRESS...` makes these answer 500 to
everything, `mend` makes all answer again and forgets what failed, `failed` only asks. The answer is when each address
first failed a check, in monotonic seconds of this machine. A failed call is no failed check: only checks send `ping`.
"""

import asyncio
import json
import re
import resource
import socket
import sys
import time
from typing import Final

import uvloop
from bench.health.backend import Canned, Clerk

_BROKEN: Final = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
_NO_STREAM: Final = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n"
_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_IDENT: Final = re.compile(rb'"id": ?("[^"]*"|\d+)')
_RESULTS: Final = {
    b'"tools/list"': b'{"tools":[{"name":"echo","description":"Says it.","inputSchema":{"type":"object"}}]}',
    b'"tools/call"': b'{"content":[{"type":"text","text":"said"}],"isError":false}',
}


class Ward:
    """Which addresses fail, and since when each is seen to."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.failed_at: dict[str, float] = {}

    def obey(self, command: str) -> dict[str, float]:
        """Do what a line asks for; when each address first failed a check."""
        verb, *addresses = command.split()
        if verb == "fail":
            self.failing.update(addresses)
        elif verb == "mend":
            self.failing.clear()
            self.failed_at.clear()
        return self.failed_at


class Connection(Canned):
    """Of one client to one address. A request is taken to arrive in one segment, as it does on loopback."""

    def __init__(self, ward: Ward, clerk: Clerk) -> None:
        super().__init__(clerk)
        self._ward = ward

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        super().connection_made(transport)
        self._address: str = transport.get_extra_info("sockname")[0]

    def _answer(self, data: bytes) -> bytes:
        if self._address in self._ward.failing:
            if b'"ping"' in data:
                self._ward.failed_at.setdefault(self._address, time.monotonic())
            return _BROKEN
        if data.startswith(b"GET"):
            return _NO_STREAM
        for method, result in _RESULTS.items():
            if method in data and (ident := _IDENT.search(data)):
                text = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (ident[1], result)
                return _ANSWER % (len(text), text)
        return super()._answer(data)


async def serve() -> None:
    """Print the port, then answer and obey until stdin ends."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")  # nobody outside reaches it
    listener.bind(("0.0.0.0", 0))
    ward, clerk = Ward(), Clerk()
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with await loop.create_server(lambda: Connection(ward, clerk), sock=listener, backlog=16_384):
        print(listener.getsockname()[1], flush=True)
        async for line in commands:
            print(json.dumps(ward.obey(line.decode())), flush=True)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(serve())
