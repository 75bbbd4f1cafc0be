"""One pod from binding to removal: its process started, probed, restarted, reported and ended."""

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from vmcp_dev.childprocess import ChildProcess
from vmcp_dev.cluster import Cluster, Refused, Unreachable
from vmcp_dev.loopback import pick_address
from vmcp_dev.podenv import container_environment, process_environment
from vmcp_dev.podpaths import listening, local_port, moved
from vmcp_dev.podprobe import Probe
from vmcp_dev.podstatus import Exit, Observed, now_text, timed
from vmcp_dev.podview import CONTAINER, Json, PodView
from vmcp_dev.podvolumes import SERVICE_ACCOUNT_PATH, CannotMount, mount

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 30.0
_STABLE_SECONDS = 60.0
_RUNNER_STOP_SECONDS = 3.0
_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Launch:
    """A process about to be started."""

    command: tuple[str, ...]
    env: dict[str, str]
    readiness: Probe | None
    liveness: Probe | None
    port: int


class PodLife:
    """Plays kubelet for one pod: `run` is its life, `update` and `vanish` tell what the API server says."""

    def __init__(
        self,
        view: PodView,
        *,
        node: str,
        cluster: Cluster,
        http: httpx.AsyncClient,
        command: Sequence[str],
        folder: Path,
        logs: Path,
        on_ready: Callable[[str, str, str], None],
    ) -> None:
        self.view = view
        self.log = logs / f"{view.namespace}_{view.name}.log"
        self._node = node
        self._cluster = cluster
        self._http = http
        self._command = tuple(command)
        self._folder = folder / view.uid
        self._on_ready = on_ready
        self._address = pick_address()
        self._port = 0
        self._process: ChildProcess | None = None
        self._exited = asyncio.Event()
        self._vanished = False
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        image = (view.container or {}).get("image", "")
        self._observed = timed(Observed(self._address.ip, now_text(), image=image, restarts=view.restarts))

    @property
    def url(self) -> str | None:
        """Where its gateway answers; None unless it is ready and stays."""
        ready = self._observed.ready and not self._over
        return f"http://{self._address.ip}:{self._port}" if ready else None

    def update(self, view: PodView) -> None:
        """The pod changed."""
        self.view = view
        self._wake.set()

    def vanish(self) -> None:
        """The pod is no longer there."""
        self._vanished = True
        self._wake.set()

    async def run(self) -> None:
        """Live until the pod is deleted, then remove it; cancelled, end the process and leave the pod."""
        try:
            async with asyncio.TaskGroup() as tasks:
                reporting = tasks.create_task(self._report())
                try:
                    await self._live()
                finally:
                    await self._end_process(self.view.grace_seconds if self._over else _RUNNER_STOP_SECONDS)
                    reporting.cancel()
            await self._remove()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _over(self) -> bool:
        return self._vanished or self.view.leaving

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.view.namespace}/pods/{self.view.name}"

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF_SECONDS
        while not self._over:
            try:
                await self._bind()
                launch = await self._prepare()
                self._start(launch)
            except (CannotMount, Refused, OSError) as error:
                self._observe(waiting=("CreateContainerConfigError", str(error)))
                await self._pause(_RETRY_SECONDS)
                continue
            except Unreachable:
                await self._pause(_RETRY_SECONDS)
                continue
            started = loop.time()
            await self._attend(launch)
            if self._over:
                return
            if loop.time() - started > _STABLE_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            self._observe_exit(backoff)
            await self._pause(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)

    async def _bind(self) -> None:
        # A deleted pod that is not bound is gone at once, without the grace that a process needs.
        if self.view.node:
            return
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.view.name, "uid": self.view.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
        }
        await self._cluster.call("POST", f"{self._path}/binding", binding)
        self.view = replace(self.view, node=self._node)

    async def _prepare(self) -> Launch:
        container = self.view.container
        if container is None:
            raise CannotMount(f"the pod has no container {CONTAINER}")
        places = await mount(self._cluster, self.view, self._folder)
        given = await container_environment(self._cluster, self.view, container, self._address.ip)
        host, port = self._cluster.host_and_port
        env = process_environment() | {name: moved(value, places) for name, value in given.items()}
        env |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        if SERVICE_ACCOUNT_PATH in places:
            env["VMCP_SERVICEACCOUNT_DIR"] = str(places[SERVICE_ACCOUNT_PATH])
        args = listening([moved(arg, places) for arg in container.get("args", ())], self._address)
        listens = local_port(args, _declared_port(container))
        return Launch(
            (*self._command, *args),
            env,
            Probe.of(container.get("readinessProbe"), self._address.ip, listens),
            Probe.of(container.get("livenessProbe"), self._address.ip, listens),
            listens,
        )

    def _start(self, launch: Launch) -> None:
        loop = asyncio.get_running_loop()
        self._exited = exited = asyncio.Event()

        def notice() -> None:
            exited.set()
            self._wake.set()

        def ended(_: ChildProcess) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(notice)

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        restarted = self._observed.last_exit is not None
        self._process = ChildProcess(
            self.view.name, launch.command, log=self.log, env=launch.env, cwd=self._folder, on_exit=ended
        )
        self._port = launch.port
        self._observe(
            started_at=now_text(),
            ready=launch.readiness is None,
            restarts=self._observed.restarts + restarted,
        )

    async def _attend(self, launch: Launch) -> None:
        async with asyncio.TaskGroup() as tasks:
            probing = []
            if launch.readiness:
                probing.append(tasks.create_task(self._watch_readiness(launch.readiness)))
            if launch.liveness:
                probing.append(tasks.create_task(self._watch_liveness(launch.liveness)))
            while not self._exited.is_set() and not self._over:
                await self._wake.wait()
                self._wake.clear()
            for task in probing:
                task.cancel()

    async def _watch_readiness(self, probe: Probe) -> None:
        failures = 0
        while True:
            passed = await probe.passes(self._http)
            failures = 0 if passed else failures + 1
            if passed and not self._observed.ready:
                self._observe(ready=True)
                self._on_ready(self.view.namespace, self.view.instance, self.url or "")
            elif failures >= probe.failures and self._observed.ready:
                self._observe(ready=False)
            await asyncio.sleep(probe.hurried(self._observed.ready))

    async def _watch_liveness(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_seconds)
        failures = 0
        while failures < probe.failures:
            failures = 0 if await probe.passes(self._http) else failures + 1
            await asyncio.sleep(probe.period_seconds)
        log.warning("pod %s/%s fails its liveness probe: restarting", self.view.namespace, self.view.name)
        await self._end_process(self.view.grace_seconds)

    async def _end_process(self, grace_seconds: float) -> None:
        if self._process is None:
            return
        self._process.terminate()
        for seconds in (grace_seconds, _KILL_SECONDS):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._exited.wait()
                return
            self._process.kill()

    def _observe_exit(self, backoff: float) -> None:
        status = (self._process.exit_status if self._process else None) or 0
        message = f"back-off {backoff:g}s restarting failed container={CONTAINER}: exit code {status}"
        log.warning("pod %s/%s: %s; see %s", self.view.namespace, self.view.name, message, self.log)
        last = Exit(status, self._observed.started_at, now_text())
        self._observe(started_at="", ready=False, waiting=("CrashLoopBackOff", message), last_exit=last)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._over:
                    await self._wake.wait()
                    self._wake.clear()

    def _observe(self, **changes: Any) -> None:
        self._observed = timed(replace(self._observed, **changes))
        self._changed.set()

    async def _report(self) -> None:
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            body = {"metadata": {"uid": self.view.uid}, "status": self._observed.document()}
            patch = "application/strategic-merge-patch+json"
            try:
                await self._cluster.call("PATCH", f"{self._path}/status", body, content_type=patch)
            except (Refused, Unreachable) as error:
                gone = isinstance(error, Refused) and error.status in (404, 409)
                if not gone:
                    self._changed.set()
                log.debug("status of pod %s/%s: %s", self.view.namespace, self.view.name, error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _remove(self) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.view.uid}}
        while not self._vanished:
            try:
                await self._cluster.call("DELETE", self._path, options)
                return
            except Refused as refused:
                if refused.status in (404, 409):
                    return
            except Unreachable:
                pass
            await asyncio.sleep(_RETRY_SECONDS)


def _declared_port(container: Json) -> int:
    ports = container.get("ports") or [{"containerPort": 4483}]
    return int(ports[0]["containerPort"])
