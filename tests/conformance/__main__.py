"""`make conformance`: the official suite against the gateway, both eras, and every feature through it as direct.

Ends with status 0 when every scored scenario of the suite passes, without a baseline of expected failures, and every
feature of the reference server is the same through the gateway.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.conformance.installed import Installed, NotInstalled, install
from tests.conformance.stage import NotStarted, fixtures_server, gateway

REQUIREMENTS: Final = ("2025-11-25", "2026-07-28")
_SUITE_S: Final = 600.0
_SUMMARY: Final = re.compile(r"=== SUMMARY ===\n(.*)", re.DOTALL)


def main() -> int:
    """Run everything. Returns the process's exit status."""
    try:
        installed = install()
    except NotInstalled as error:
        print(f"not installed: {error}", file=sys.stderr)
        return 2
    failed = []
    with tempfile.TemporaryDirectory(prefix="vmcp-conformance-") as folder:
        logs = Path(folder)
        try:
            with fixtures_server(installed, logs) as backend, gateway(backend, logs) as url:
                for revision in REQUIREMENTS:
                    print(f"\n=== official conformance suite, {revision}, through the gateway")
                    if not _suite(installed, url, revision):
                        failed.append(f"conformance {revision}")
        except NotStarted as error:
            print(error, file=sys.stderr)
            return 2
    print("\n=== every feature of server-everything: through the gateway as direct", flush=True)
    differential = Path(__file__).with_name("differential.py")
    if subprocess.run([sys.executable, "-m", "pytest", "-q", differential], check=False).returncode != 0:
        failed.append("differential test")
    print(f"\nconformance: {'failed: ' + ', '.join(failed) if failed else 'all scored scenarios passed'}")
    return 1 if failed else 0


def _suite(installed: Installed, url: str, revision: str) -> bool:
    command = [installed.node, installed.suite, "server", "--url", url, "--requirements", revision]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SUITE_S)
    summary = _SUMMARY.search(done.stdout)
    print(summary.group(1).strip() if summary else done.stdout + done.stderr, flush=True)
    return done.returncode == 0 and summary is not None


if __name__ == "__main__":
    sys.exit(main())
