"""The audit log of an API server, read while that server writes it and though it may have been killed."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def entries(log: Path, naming: str = "") -> Iterator[dict[str, Any]]:
    """What has been written so far, of the lines that hold the text `naming`; what was rotated away comes first."""
    for path in sorted(log.parent.glob(f"{log.stem}*{log.suffix}")):
        with path.open(errors="replace") as lines:
            yield from parsed(line for line in lines if naming in line)


def parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Each line as an entry; one that is being written, or that was cut off by the server's death, is none."""
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield entry
