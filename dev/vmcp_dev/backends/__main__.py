"""`python -m vmcp_dev.backends time --port 9301`: one of the demo's MCP servers in the foreground, at /mcp."""

import argparse
import logging
from pathlib import Path

import mcp_server_git.server
import mcp_server_time.server
import uvicorn
from mcp.server import MCPServer
from starlette.types import ASGIApp

from vmcp_dev.backends import notes
from vmcp_dev.backends.legacyonly import LegacyOnly

_HOST = "127.0.0.1"
_LAST_REQUESTS_SECONDS = 1


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    options = _parser().parse_args()
    # The SDK reports every session that comes or goes.
    logging.getLogger("mcp").setLevel(logging.WARNING)
    # The gateway keeps a stream open for change notifications, which would hold up the end for good.
    uvicorn.run(
        _app(options.server, options.repository),
        host=_HOST,
        port=options.port,
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
    )


def _app(server: str, repository: Path) -> ASGIApp:
    match server:
        case "time":
            return _served(mcp_server_time.server.create_server("UTC"))
        case "git":
            return _served(mcp_server_git.server.create_server(repository))
        case _:
            return LegacyOnly(_served(notes.create_server()))


def _served(server: MCPServer) -> ASGIApp:
    return server.streamable_http_app(host=_HOST)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vmcp_dev.backends", description=__doc__)
    parser.add_argument("server", choices=("time", "git", "notes"), help="notes speaks the Legacy era only")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--repository", type=Path, default=Path(), help="what git looks at (default: this folder)")
    return parser


if __name__ == "__main__":
    main()
