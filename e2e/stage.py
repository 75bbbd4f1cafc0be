"""One namespace of a scenario: what is applied there, and what can be seen of it."""

import asyncio
from typing import Any

import httpx

from e2e import fleet
from e2e.fleet import Manifest
from e2e.kind import Kind
from e2e.waiting import until
from vmcp.api.conditions import Condition
from vmcp.api.status import CircuitState, DiscoveredBackend, VirtualMCPServerStatus
from vmcp_dev.kubectl import Kubectl

_OURS = "/apis/toolhive.stacklok.dev/v1beta1"
_PATHS = {
    "virtualmcpserver": f"{_OURS}/namespaces/{{}}/virtualmcpservers",
    "mcpgroup": f"{_OURS}/namespaces/{{}}/mcpgroups",
    "mcpserver": f"{_OURS}/namespaces/{{}}/mcpservers",
    "pod": "/api/v1/namespaces/{}/pods",
    "service": "/api/v1/namespaces/{}/services",
    "deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "statefulset": "/apis/apps/v1/namespaces/{}/statefulsets",
    "lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}


class Stage:
    """A namespace.

    Attributes:
        namespace: its name.
        api: the API server, as the administrator.
    """

    def __init__(self, kind: Kind, namespace: str, api: httpx.AsyncClient) -> None:
        self.namespace = namespace
        self.api = api
        self.kind = kind
        self._kubectl: Kubectl = kind.kubectl

    async def kubectl(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """kubectl in this namespace, off the event loop."""
        arguments = (f"--namespace={self.namespace}", *arguments)
        return await asyncio.to_thread(self._kubectl, *arguments, timeout_seconds=timeout_s)

    async def apply(self, *manifests: Manifest) -> None:
        """Server-side apply, into this namespace."""
        placed = [m | {"metadata": {"namespace": self.namespace} | m["metadata"]} for m in manifests]
        await asyncio.to_thread(self._kubectl.apply, *placed)

    async def get(self, kind: str, name: str) -> Manifest | None:
        """An object as stored; None where there is none."""
        answer = await self.api.get(f"{_PATHS[kind].format(self.namespace)}/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return dict(answer.raise_for_status().json())

    async def all(self, kind: str, selector: str = "") -> list[Manifest]:
        """The objects of a kind that a label selector fits."""
        answer = await self.api.get(_PATHS[kind].format(self.namespace), params={"labelSelector": selector})
        return list(answer.raise_for_status().json()["items"])

    async def backend(self, name: str, image: str, **environment: str) -> None:
        """Apply a backend's Deployment and Service and wait until it is ready."""
        await self.apply(*fleet.backend(name, image, **environment))
        await self.backend_ready(name)

    async def backend_ready(self, name: str, *, limit_s: float = 240.0) -> None:
        """Return as soon as the backend's Deployment is available in its present generation."""

        async def available() -> bool:
            deployment = await self.get("deployment", name) or {}
            status = deployment.get("status", {})
            current = status.get("observedGeneration") == deployment.get("metadata", {}).get("generation")
            return bool(current and status.get("availableReplicas") and not status.get("unavailableReplicas"))

        await until(f"backend {name} is available", available, limit_s=limit_s)

    async def serve(self, image: str, *names: str, gateway: str = "tools", **spec: Any) -> None:
        """A group of backends behind a gateway, and wait until that is Ready. `spec` is the VirtualMCPServer's."""
        backends = [manifest for name in names for manifest in fleet.backend(name, image)]
        await self.apply(*backends)
        await self.serve_existing(*names, gateway=gateway, **spec)

    async def serve_existing(self, *names: str, gateway: str = "tools", **spec: Any) -> None:
        """The same for backends that have been applied."""
        await self.apply(fleet.group(gateway), *(fleet.entry(name, gateway, self.namespace) for name in names))
        for name in names:
            await self.backend_ready(name)
        await self.apply(fleet.gateway(gateway, gateway, **spec))
        await until(f"gateway {gateway} is Ready", lambda: self.ready(gateway), limit_s=240.0)
        await self.reachable(gateway)

    async def reachable(self, gateway: str) -> None:
        """Return as soon as its Service leads to the gateway: kube-proxy may hear of a ready pod after the operator."""
        health = (await self.url(gateway)).removesuffix("/mcp") + "/health"

        async def answers() -> bool:
            async with httpx.AsyncClient(timeout=5.0) as client:
                return (await client.get(health)).is_success

        await until(f"gateway {gateway} answers through its Service", answers, limit_s=60.0)

    async def two_pods_ready(self, gateway: str) -> None:
        """Return as soon as the gateway has two ready pods and no other."""

        async def ready() -> bool:
            return len(await self.ready_pods(gateway)) == 2 == len(await self.pods(gateway))

        await until("two gateway pods are ready", ready, limit_s=180.0)

    async def status(self, gateway: str) -> VirtualMCPServerStatus:
        """The status of a VirtualMCPServer; an empty one while there is none."""
        stored = await self.get("virtualmcpserver", gateway) or {}
        return VirtualMCPServerStatus.model_validate(stored.get("status") or {})

    async def phase(self, gateway: str) -> str:
        """Its phase."""
        return str((await self.status(gateway)).phase)

    async def ready(self, gateway: str) -> bool:
        """Whether it is Ready in its present generation, with all backends in use."""
        stored = await self.get("virtualmcpserver", gateway) or {}
        status = VirtualMCPServerStatus.model_validate(stored.get("status") or {})
        return status.phase == "Ready" and status.observed_generation == stored["metadata"]["generation"]

    async def condition(self, gateway: str, kind: str) -> Condition | None:
        """One of its conditions."""
        found = [c for c in (await self.status(gateway)).conditions or [] if c.type == kind]
        return found[0] if found else None

    async def seen(self, gateway: str, backend: str) -> DiscoveredBackend | None:
        """What its status says of a backend."""
        found = [b for b in (await self.status(gateway)).discovered_backends or [] if b.name == backend]
        return found[0] if found else None

    async def is_open(self, gateway: str, backend: str) -> DiscoveredBackend | None:
        """The backend, once it is shown as unavailable with an open circuit."""
        seen = await self.seen(gateway, backend)
        out = seen and seen.status == "unavailable" and seen.circuit_breaker_state is CircuitState.OPEN
        return seen if out else None

    async def is_closed(self, gateway: str, backend: str) -> DiscoveredBackend | None:
        """The backend, once it is in use with a closed circuit."""
        seen = await self.seen(gateway, backend)
        used = seen and seen.status in ("ready", "degraded") and seen.circuit_breaker_state is CircuitState.CLOSED
        return seen if used else None

    async def pod_of(self, backend: str) -> Manifest:
        """The ready pod of a backend."""

        async def ready() -> Manifest | None:
            pods = [pod for pod in await self.all("pod", f"e2e-backend={backend}") if is_ready(pod)]
            return next((pod for pod in pods if "deletionTimestamp" not in pod["metadata"]), None)

        found = await until(f"backend {backend} has a ready pod", ready, limit_s=120.0)
        assert found is not None
        return found

    async def url(self, gateway: str) -> str:
        """Where this machine reaches the gateway's Service."""
        service = await self.get("service", f"vmcp-{gateway}")
        assert service is not None, f"the gateway {gateway} has no Service"
        return f"http://{self.kind.address}:{service['spec']['ports'][0]['nodePort']}/mcp"

    async def pods(self, gateway: str) -> list[Manifest]:
        """The gateway's pods that are not being deleted."""
        pods = await self.all("pod", f"app.kubernetes.io/name=virtualmcpserver,app.kubernetes.io/instance={gateway}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    async def ready_pods(self, gateway: str) -> list[Manifest]:
        """Those of them that are ready."""
        return [pod for pod in await self.pods(gateway) if is_ready(pod)]


def is_ready(pod: Manifest) -> bool:
    """Whether the pod is ready."""
    conditions: list[dict[str, Any]] = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
