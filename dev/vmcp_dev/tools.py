"""helm and promtool, which check what is in `deploy/`: from PATH, from the cache, or built from their Go modules.

`python -m vmcp_dev.tools` brings both.
"""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from vmcp_dev import gobuild, versions
from vmcp_dev.binaries import BinaryNotFound, say
from vmcp_dev.bringing import only_one_at_a_time
from vmcp_dev.paths import cache_folder

_FITS = {
    "helm": (["version", "--short"], re.compile(r"^v[34]\.")),
    "promtool": (["--version"], re.compile(r"promtool, version 3\.")),
}


@cache
def find_tool(name: str) -> Path:
    """`helm` or `promtool`. The first build takes minutes and is reported on stderr.

    Raises:
        BinaryNotFound: it is not there and cannot be built; the message says what to do.
    """
    on_path = shutil.which(name)
    if on_path and _fits(name, Path(on_path)):
        return Path(on_path)
    folder = cache_folder() / "tools" / f"{name}-{versions.TOOLS[name]}"
    target = folder / name
    if target.is_file():
        return target
    with only_one_at_a_time(folder, say):
        if not target.is_file():  # another process may have built it while this one waited
            try:
                gobuild.build(name, target, say)
            except gobuild.BuildFailed as failed:
                raise BinaryNotFound(f"{name} could not be had: {failed}. Or put {name} on PATH.") from failed
    return target


def _fits(name: str, binary: Path) -> bool:
    question, answer = _FITS[name]
    try:
        said = subprocess.run([binary, *question], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return answer.search(said.stdout) is not None


def _main() -> int:
    try:
        for name in versions.TOOLS:
            find_tool(name)
    except BinaryNotFound as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
