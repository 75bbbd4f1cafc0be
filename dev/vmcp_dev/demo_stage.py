"""Everything that the demo needs around it, started and stopped together: cluster, operator, runner, MCP servers."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from vmcp_dev.backends.running import RunningBackend, listens, make_repository
from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.controlplane import ControlPlane
from vmcp_dev.crdinstall import CRDS
from vmcp_dev.demo_view import DemoFailed
from vmcp_dev.kubectl import Kubectl
from vmcp_dev.operatorprocess import start_operator
from vmcp_dev.ports import free_port
from vmcp_dev.runner import LocalRunner
from vmcp_dev.runnerthread import RunnerThread

MANIFEST = Path(__file__).parents[2] / "examples" / "demo.yaml"
_PORTS = {"time": 9301, "git": 9302, "notes": 9303}
_OPERATOR_STOP_SECONDS = 10.0
_TAIL_LINES = 20


class Stage:
    """A context manager; whatever happens, nothing of it is left running.

    Attributes:
        manifest: the text of `examples/demo.yaml`, with the ports that the servers really have.
        backends: the MCP servers by name.
        runner: plays kubelet.
    """

    backends: dict[str, RunningBackend]
    runner: RunnerThread

    def __init__(self, say: Callable[[str], None]) -> None:
        self.manifest = MANIFEST.read_text()
        self.backends = {}
        self._say = say
        self._stack = ExitStack()
        self._folder = Path()
        self._control_plane: ControlPlane | None = None
        self._operator: ChildProcess | None = None

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the administrator."""
        assert self._control_plane is not None, "not entered"
        return self._control_plane.kubectl

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def check(self) -> None:
        """Raise when a part has ended that nobody stopped.

        Raises:
            ControlPlaneError: a part of the control plane.
            DemoFailed: the operator or the local runner.
        """
        assert self._control_plane is not None, "not entered"
        assert self._operator is not None, "not entered"
        self._control_plane.check()
        if not self._operator.running:
            raise DemoFailed(f"the operator ended with status {self._operator.exit_status}")
        if not self.runner.running:
            raise DemoFailed("the local runner ended")

    def tails(self) -> str:
        """The last lines of every log, for a person who has to find out what went wrong."""
        parts = []
        # Those of the control plane are not among them: its errors carry their own.
        for log in sorted((*self._folder.glob("logs/*.log"), *self._folder.glob("pods/logs/*.log"))):
            lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            parts += [f"--- the end of {log.name}", *lines] if lines else []
        return "\n".join(parts)

    def _start(self) -> None:
        folder = self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vmcp-demo-")))
        repository = make_repository(folder / "repository")
        for name in _PORTS:
            looked_at = repository if name == "git" else None
            server = RunningBackend(name, self._port(name), logs=folder / "logs", repository=looked_at)
            self.backends[name] = self._stack.enter_context(server)
        control_plane = self._control_plane = ControlPlane(folder / "cluster", crds=CRDS)
        self._stack.enter_context(control_plane)
        for started in self.backends.values():
            started.wait_listening()
        operator = self._operator = start_operator(control_plane.kubeconfig, log=folder / "logs" / "operator.log")
        self._stack.callback(operator.stop, _OPERATOR_STOP_SECONDS)
        runner = LocalRunner(control_plane.kubeconfig, folder / "pods", on_ready=lambda *_: None)
        self.runner = self._stack.enter_context(RunnerThread(runner))

    def _port(self, name: str) -> int:
        wanted = _PORTS[name]
        if not listens(wanted):
            return wanted
        port = free_port()
        self._say(f"port {wanted} is taken, {name} listens on {port} instead")
        self.manifest = self.manifest.replace(f":{wanted}/", f":{port}/")
        return port
