"""The `vmcp` command."""

from vmcp.cli.main import main

__all__ = ["main"]
