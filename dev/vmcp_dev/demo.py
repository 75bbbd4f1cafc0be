"""`make demo`: the main job in one terminal, on a real API server, with real MCP servers and a real client."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

from mcp import MCPError

from vmcp_dev.backends.running import BackendError
from vmcp_dev.binaries import BinaryNotFound
from vmcp_dev.controlplane import ControlPlaneError
from vmcp_dev.demo_screen import LiveScreen, Picture, PlainScreen, Screen
from vmcp_dev.demo_stage import Stage
from vmcp_dev.demo_story import Story
from vmcp_dev.demo_view import DemoFailed
from vmcp_dev.kubectl import KubectlError

_EXPECTED = (DemoFailed, BackendError, BinaryNotFound, ControlPlaneError, KubectlError, MCPError, TimeoutError)


def main() -> int:
    """Tell the story once; the exit status."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    # A plain kill, or a closed terminal, ends it as Ctrl-C does: in order. Without the first line a job in the
    # background hears none of them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: signal.raise_signal(signal.SIGINT))
    screen: Screen = LiveScreen() if sys.stdout.isatty() else PlainScreen()
    picture = Picture(screen) if options.picture else None
    keep = os.environ.get("DEMO_KEEP", "") not in ("", "0")
    try:
        last_line = _run(picture or screen, keep=keep)
    except KeyboardInterrupt:
        print("demo: ended" if keep else "demo: interrupted", flush=True)
        return 0 if keep else 130
    if picture is not None and last_line.startswith("demo: ok"):
        picture.save(options.picture)
    print(last_line, flush=True)
    return 0 if last_line.startswith("demo: ok") else 1


def _run(screen: Screen, *, keep: bool) -> str:
    started = time.monotonic()
    screen.say("starting three MCP servers, etcd, kube-apiserver, kube-controller-manager and the operator")
    with screen:
        stage = Stage(screen.say)
        try:
            with stage:
                story = Story(stage, screen)
                screen.say("they are up")
                try:
                    asyncio.run(story.tell(keep=keep))
                except Exception:
                    screen.show(stage.tails())
                    raise
        except (Exception, BaseExceptionGroup) as error:
            if not isinstance(first := _first(error), _EXPECTED):
                raise first from None
            return f"demo: failed: {first}"
    return f"demo: ok, a backend died and came back in {time.monotonic() - started:.0f} s"


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vmcp_dev.demo",
        description="A backend dies, its circuit opens, it comes back. With DEMO_KEEP=1 it stays up afterwards.",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write what was shown to an SVG file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
