"""The operator's own HTTP port: `/healthz`, `/readyz` and `/metrics`, for a kubelet and for Prometheus.

It answers in the operator's own loop, on purpose: a loop that stands still does not answer, and so is not alive.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

REQUEST_S = 5.0
CONNECTIONS_MAX = 64
HEAD_MAX = 16_384

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered to a GET."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. An empty host means all addresses, port 0 a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`host:port`, `:port` or `[v6]:port`. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is not host:port, such as 0.0.0.0:8080")
        return cls(host.strip("[]"), int(port))


class Listener:
    """Answers GET on known paths, one request a connection."""

    def __init__(self, address: Address, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._address = address
        self._pages = pages
        self._open = 0

    async def run(self) -> None:
        """Listen until cancelled. Raises OSError where the address cannot be had."""
        server = await asyncio.start_server(
            self._answer, self._address.host or None, self._address.port, limit=HEAD_MAX, backlog=CONNECTIONS_MAX
        )
        places = ", ".join("{}:{}".format(*sock.getsockname()[:2]) for sock in server.sockets)
        log.info("listening on %s for %s", places, ", ".join(self._pages))
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                if self._open <= CONNECTIONS_MAX:
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_response(self._page(head)))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open -= 1
            writer.close()

    def _page(self, head: bytes) -> Page:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        page = self._pages.get(path)
        if page is None:
            return Page(b"not found\n", status=HTTPStatus.NOT_FOUND)
        if method != b"GET":
            return Page(b"only GET\n", status=HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return page()
        except Exception:
            log.exception("a fault in %s", path)
            return Page(b"fault\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _response(page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\ncontent-type: {page.content_type}\r\n"
        f"content-length: {len(page.body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + page.body
