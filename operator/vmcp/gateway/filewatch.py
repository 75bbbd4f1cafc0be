"""Notices when a file has other content, however it was replaced."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

CHECK_S: Final = 1.0


async def watch_file(path: Path, changed: Callable[[str], None]) -> None:
    """Call `changed` with the content at once, and after each change, until cancelled.

    At once, since it may be another than the caller began with.
    """
    before = None
    while True:
        after = _modified(path)
        if after != before:
            before = after
            content = _content(path)
            if content is not None:
                changed(content)
        await asyncio.sleep(CHECK_S)


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError as error:
        # An editor replaces files: between two names there is none.
        log.warning("%s: %s", path, error.strerror)
    except UnicodeDecodeError:
        log.warning("%s: it is not UTF-8", path)
    return None


def _modified(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
