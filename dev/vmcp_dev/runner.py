"""The local runner: plays kubelet for gateway pods, where no node exists.

It takes the pods that carry the gateway's label, runs the command of their container `vmcp` as a local
process (the image is ignored), with the pod's mounts as files and its own ServiceAccount token, so that
RBAC is real; and reports their status, so that a Deployment becomes Available for real.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from vmcp_dev.cluster import Cluster, Refused, Unreachable, connect
from vmcp_dev.podlife import PodLife
from vmcp_dev.podstatus import now_text
from vmcp_dev.podview import GATEWAY_LABEL, PodView

log = logging.getLogger(__name__)

NODE = "local-runner"
GATEWAY_COMMAND = (sys.executable, "-m", "vmcp.cli")
_AGAIN_SECONDS = 0.5
_GATEWAYS = f"labelSelector={GATEWAY_LABEL}"


def print_address(namespace: str, name: str, url: str) -> None:
    """Tell a person where a gateway answers."""
    print(f"gateway {namespace}/{name} is ready at {url}/mcp", flush=True)


class LocalRunner:
    """Runs gateway pods for as long as `run` runs.

    `address` and `log_of` may be called from any thread.
    """

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *,
        command: Sequence[str] = GATEWAY_COMMAND,
        on_ready: Callable[[str, str, str], None] = print_address,
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: volumes and logs of the pods.
            command: what a container's args are given to, in place of its image.
            on_ready: called with namespace, name of the VirtualMCPServer and URL when its pod becomes ready.
        """
        self._kubeconfig = kubeconfig
        self._volumes = folder / "volumes"
        self._logs = folder / "logs"
        self._command = tuple(command)
        self._on_ready = on_ready
        self._pods: dict[str, PodLife] = {}

    def address(self, namespace: str, name: str) -> str | None:
        """`http://127.77.x.y:4483` of a ready pod of that VirtualMCPServer; None when there is none."""
        lives = list(self._pods.values())
        of_it = (life for life in lives if (life.view.namespace, life.view.instance) == (namespace, name))
        return next((life.url for life in of_it if life.url), None)

    def log_of(self, namespace: str, pod: str) -> Path:
        """The file that holds stdout and stderr of a pod, all its restarts; it outlives the pod."""
        return self._logs / f"{namespace}_{pod}.log"

    async def run(self) -> None:
        """Serve until cancelled; then all processes are stopped, their pods left as they are."""
        # Like a kubelet's, a probe never rides on an old connection.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with (
            connect(self._kubeconfig) as cluster,
            httpx.AsyncClient(limits=limits, trust_env=False) as http,
            asyncio.TaskGroup() as tasks,
        ):

            def take(view: PodView) -> None:
                life = self._new_life(view, cluster, http)
                self._pods[view.uid] = life
                tasks.create_task(self._host(life), name=f"pod {view.namespace}/{view.name}")

            while True:
                try:
                    await _register_node(cluster)
                    async for event, document in cluster.watch("/api/v1/pods", _GATEWAYS):
                        self._see(event, document, take)
                except (Refused, Unreachable) as error:
                    log.debug("watching pods: %s", error)
                    await asyncio.sleep(_AGAIN_SECONDS)

    def _see(self, event: str, document: dict[str, Any], take: Callable[[PodView], None]) -> None:
        if event == "LISTED":
            # What went while nobody watched is missing here.
            listed = {pod["metadata"]["uid"] for pod in document["items"]}
            for uid in self._pods.keys() - listed:
                self._pods[uid].vanish()
            for pod in document["items"]:
                self._see("MODIFIED", pod, take)
            return
        view = PodView.of(document)
        life = self._pods.get(view.uid)
        if life is None:
            if event != "DELETED" and view.node in ("", NODE):
                take(view)
        elif event == "DELETED":
            life.vanish()
        else:
            life.update(view)

    def _new_life(self, view: PodView, cluster: Cluster, http: httpx.AsyncClient) -> PodLife:
        return PodLife(
            view,
            node=NODE,
            cluster=cluster,
            http=http,
            command=self._command,
            folder=self._volumes,
            logs=self._logs,
            on_ready=self._on_ready,
        )

    async def _host(self, life: PodLife) -> None:
        try:
            await life.run()
        except Exception:
            # One pod's trouble is that pod's.
            log.exception("pod %s/%s is given up", life.view.namespace, life.view.name)
        finally:
            del self._pods[life.view.uid]


async def _register_node(cluster: Cluster) -> None:
    # Without its Node a bound pod would be collected as an orphan.
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    try:
        await cluster.call("POST", "/api/v1/nodes", node)
    except Refused as refused:
        if refused.status != 409:
            raise
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "LocalRunner",
        "message": "the local runner plays kubelet for gateway pods",
        "lastHeartbeatTime": now_text(),
        "lastTransitionTime": now_text(),
    }
    patch = "application/strategic-merge-patch+json"
    status = {"status": {"conditions": [ready]}}
    await cluster.call("PATCH", f"/api/v1/nodes/{NODE}/status", status, content_type=patch)
