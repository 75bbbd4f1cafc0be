"""FastMCP's own proxy over the backends whose URLs it is given."""

import argparse

from fastmcp.server import create_proxy


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="+")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    servers = {f"b{number}": {"url": url} for number, url in enumerate(arguments.url, 1)}
    proxy = create_proxy({"mcpServers": servers}, name="proxy")
    proxy.run("http", host="127.0.0.1", port=arguments.port, path="/mcp", show_banner=False, log_level="error")


if __name__ == "__main__":
    main()
