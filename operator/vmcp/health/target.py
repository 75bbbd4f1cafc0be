"""A target: one backend of one VirtualMCPServer, as the monitor needs it."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from vmcp.health.policy import HealthPolicy
from vmcp.mcp.transport import Peer


class Wire(StrEnum):
    """How MCP is carried to the backend."""

    STREAMABLE_HTTP = "streamable-http"
    SSE = "sse"


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed. Two targets with the same fingerprint are the same backend: its record is kept.

    Attributes:
        name: the backend's name, unique within its owner.
        auth_configured: outgoing auth is configured, so a 401 or 403 means alive.
        headers: plaintext headers to send.
        fingerprint: short hash of URL, transport and auth reference.
        never_call: why this backend may never be called (outgoing auth that we cannot do); shown as unauthenticated,
            never probed. Empty otherwise.
        note: a sentence added to the backend's message (`certificate not verified: ...`), empty otherwise.
        owner: UID of the VirtualMCPServer: two that share a backend share no session with it.
    """

    name: str
    url: str
    policy: HealthPolicy
    wire: Wire = Wire.STREAMABLE_HTTP
    auth_configured: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    peer: Peer = field(default_factory=Peer)
    fingerprint: str = ""
    never_call: str = ""
    note: str = ""
    owner: str = ""


def is_same(before: Target, after: Target) -> bool:
    """Whether the record is kept."""
    return before.fingerprint == after.fingerprint and bool(before.never_call) == bool(after.never_call)


def is_reached_alike(before: Target, after: Target) -> bool:
    """Whether what the check keeps open may stay open."""
    return (before.url, before.wire, before.headers, before.peer) == (
        after.url,
        after.wire,
        after.headers,
        after.peer,
    )


def place_of(url: str) -> str:
    """Host and port of the URL: what a limit on simultaneous checks is counted by."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return url


def hostname_of(url: str) -> str:
    """Host of the URL without its port: what may fail as a whole."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url
