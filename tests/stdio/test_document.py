"""docs/stdio.md says what is there."""

import re
from pathlib import Path

from vmcp.stdio.metrics import Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "stdio.md"


def test_every_metric_is_in_the_document_and_no_other() -> None:
    types = re.findall(r"^# TYPE (\S+) (\S+)$", Metrics().exposition().decode(), re.MULTILINE)
    exposed = {(name, kind) for name, kind in types if not name.endswith("_created")}
    written = set(re.findall(r"^\| `(vmcp_stdio_\w+)` \| (\w+) \|", DOCUMENT.read_text(), re.MULTILINE))
    assert written == exposed
