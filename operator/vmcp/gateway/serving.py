"""The listening socket and uvicorn behind our own connections: how an edge is served, whatever is behind it."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable, Iterator
from typing import Final, cast

import uvicorn

from vmcp.gateway.connection import CLOSING, Connection
from vmcp.gateway.limits import Limits
from vmcp.gateway.shortway import App, ShortWay

CUT_S: Final = 3
"""What has not ended this long after the drain is cut off."""
LISTEN_BACKLOG: Final = 1024


class Server(uvicorn.Server):
    """uvicorn without its signal handling: it would end the process under the tasks that are not its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    def dismiss(self) -> None:
        """From now on every answer is the last one on its connection: clients turn elsewhere between two requests."""
        self.config.encoded_headers.append(CLOSING)
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSING]

    def protocol(self, first: bytes) -> asyncio.Protocol:
        """A connection that another process has read this much of already."""
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(config=self.config, server_state=self.server_state, app_state={}, first=first)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; port 0 = a free one; `shared` = others may listen there too, each. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG, reuse_port=shared)
    # Connections inherit it. asyncio leaves it off for sockets made this way, and head and body are two writes:
    # the body would then wait 40 ms for the client's delayed acknowledgement of the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def configured(
    app: App, *, limits: Limits, cut: Callable[[str], None], lanes: ShortWay, drain_s: float
) -> uvicorn.Config:
    """How uvicorn serves `app`.

    Args:
        cut: told why, in one word, when a connection is ended for a limit.
        drain_s: running requests may end within this after the stop.
    """
    connection = functools.partial(Connection, limits=limits, cut=cut, lanes=lanes)
    return uvicorn.Config(
        app,
        # It is called as a class is.
        http=cast("type[asyncio.Protocol]", connection),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=int(drain_s) + CUT_S,
    )
