"""What reconcile knows of one VirtualMCPServer; its status is made from that and its backends' snapshots."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vmcp.api.status import HandledRequest, Phase


class DeploymentState(StrEnum):
    """The gateway's Deployment, for the generation that is applied."""

    UNAVAILABLE = "unavailable"
    """No pod of this generation is ready yet."""
    AVAILABLE = "available"
    FAILED = "failed"
    """Its pods fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition, as reconcile found it. `type` is a ConditionType, or one made for a backend's auth."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why no gateway can be served, whatever its backends: decides phase and Ready before anything else.

    `FAILED` is what only a person can help (spec invalid, reference missing, name conflict) and sets Stalled;
    `PENDING` resolves by itself (group not ready, children of an older owner).
    """

    phase: Phase
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class BackendAuth:
    """How the gateway identifies itself to a backend, and the MCPExternalAuthConfig that says so."""

    type: str
    config_ref: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What reconcile knows of one VirtualMCPServer.

    Attributes:
        generation: of the spec whose objects are applied and whose targets are set.
        url: of the gateway within the cluster, empty while none is served.
        heartbeat_s: the longest silence of the status; see `vmcp.status.news.heartbeat_of`.
        handled_requests: one-off acts that annotations asked for and that are done.
        doubted: failures by dns, connect and timeout are not believed now (design §3 rule 7).
        auth: of the backends that have outgoing auth, by name.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    url: str = ""
    conditions: tuple[Finding, ...] = ()
    blocked: Blocked | None = None
    deployment: DeploymentState = DeploymentState.UNAVAILABLE
    deployment_message: str = ""
    heartbeat_s: float = 300.0
    handled_requests: tuple[HandledRequest, ...] = ()
    doubted: bool = False
    auth: Mapping[str, BackendAuth] = field(default_factory=dict)
