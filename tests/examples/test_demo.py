"""`make demo`, piped: what a CI log shows."""

import os
import subprocess
import sys


def test_the_demo_tells_the_whole_story_and_ends_by_itself() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "vmcp_dev.demo"],
        env={**os.environ, "DEMO_KEEP": ""},
        capture_output=True,
        text=True,
        timeout=420.0,
        check=False,
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    lines = demo.stdout.splitlines()
    assert lines[-1].startswith("demo: ok")
    circuit = [line for line in lines if line.lstrip(" 0123456789.s").startswith("time: circuit")]
    assert "closed -> open" in circuit[0]
    assert "open -> half-open" in circuit[1]
    assert "half-open -> closed" in circuit[-1]
    heading = next(line for line in lines if line.startswith("NAME"))
    assert heading.split() == ["NAME", "PHASE", "URL", "BACKENDS", "AGE", "READY"]
    assert any("error -32003" in line and "retry in" in line for line in lines)
    assert any("CircuitOpened" in line for line in lines)
    assert "Traceback" not in demo.stdout + demo.stderr
