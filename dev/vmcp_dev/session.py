"""One development cluster in the foreground: control plane, CRDs, operator and local runner, until it is ended.

A locked file tells other terminals where it is; the lock goes with the process, however it ends.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from vmcp_dev.binaries import say
from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS
from vmcp_dev.operatorprocess import start_operator
from vmcp_dev.paths import state_file
from vmcp_dev.runner import LocalRunner
from vmcp_dev.runnerthread import RunnerThread

_DOWN_SECONDS = 60.0


class SessionError(Exception):
    """There is a session where none may be, or none where one must be. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Session:
    """What other terminals need to know.

    Attributes:
        pid: the process that `down` ends.
        kubeconfig: an administrator's.
        kubectl: a kubectl that fits.
        logs: folder of the logs.
    """

    pid: int
    kubeconfig: str
    kubectl: str
    logs: str


def serve(manifests: Sequence[Path] = ()) -> None:
    """Bring everything up, apply the manifests and stay until SIGINT or SIGTERM.

    Raises:
        SessionError: another session is up, or a part of this one died.
        ControlPlaneError, KubectlError, BinaryNotFound: it does not come up.
    """
    with _announced() as announce, ControlPlane(crds=CRDS) as control_plane:
        kubectl, logs = control_plane.kubectl, control_plane.folder / "logs"
        operator = start_operator(control_plane.kubeconfig, log=logs / "operator.log")
        try:
            with RunnerThread(LocalRunner(control_plane.kubeconfig, control_plane.folder / "pods")) as runner:
                announce(Session(os.getpid(), str(control_plane.kubeconfig), str(kubectl.binary), str(logs)))
                _tell(control_plane, logs)
                for manifest in manifests:
                    print(kubectl("apply", "-f", str(manifest)), end="", flush=True)
                _stay(control_plane, operator, runner)
        finally:
            operator.stop(10.0)


def current() -> Session:
    """The session that is up.

    Raises:
        SessionError: none is.
    """
    path = state_file()
    try:
        with path.open() as file:
            if _locked(file.fileno()):
                return Session(**json.load(file))
    except (FileNotFoundError, ValueError):
        pass
    raise SessionError("nothing is up; start it with: python -m vmcp_dev up")


def end() -> None:
    """End the session that is up and wait for its end.

    Raises:
        SessionError: none is up, or it does not end within a minute.
    """
    os.kill(current().pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while time.monotonic() < deadline:
        try:
            current()
        except SessionError:
            return
        time.sleep(0.2)
    raise SessionError(f"process {current().pid} is still there after {_DOWN_SECONDS:.0f} s")


def _tell(control_plane: ControlPlane, logs: Path) -> None:
    say(f"logs: {logs}")
    print(f"up: {control_plane.server}\nexport KUBECONFIG={control_plane.kubeconfig}", flush=True)


def _stay(control_plane: ControlPlane, operator: ChildProcess, runner: RunnerThread) -> None:
    while True:
        control_plane.check()
        if not operator.running:
            raise SessionError(f"the operator ended with status {operator.exit_status}:\n{operator.tail()}")
        if not runner.running:
            raise SessionError("the local runner ended")
        time.sleep(0.5)


@contextmanager
def _announced() -> Iterator[Callable[[Session], None]]:
    path = state_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SessionError("a session is up already; end it with: python -m vmcp_dev down") from None
        file.truncate(0)

        def announce(session: Session) -> None:
            file.write(json.dumps(asdict(session)))
            file.flush()

        try:
            yield announce
        finally:
            file.truncate(0)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
