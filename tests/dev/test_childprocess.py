import subprocess
import sys
import threading
import time
from pathlib import Path

from vmcp_dev.childprocess import ChildProcess

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may be there to reap it


def test_a_death_is_told_with_its_status_and_its_output_is_kept(tmp_path: Path) -> None:
    told = threading.Event()
    command = [sys.executable, "-c", "print('last words'); raise SystemExit(3)"]
    child = ChildProcess("any", command, log=tmp_path / "log", on_exit=lambda _: told.set())
    assert told.wait(30)
    assert child.exit_status == 3
    assert child.tail() == "last words"
    assert not child.asked_to_end


def test_a_stubborn_process_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER[-1]
    child = ChildProcess("any", [sys.executable, "-c", stubborn], log=tmp_path / "log")
    while "up" not in child.tail():
        assert child.running
        time.sleep(0.05)
    child.stop(grace_seconds=0.2)
    assert child.exit_status == 137


def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vmcp_dev.childprocess import ChildProcess\n"
        f"child = ChildProcess('any', {SLEEPER!r}, log=Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "dev"), "PATH": "/usr/bin:/bin"}
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
