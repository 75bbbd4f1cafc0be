"""The targets of a gateway's configuration: the same for the operator and for a gateway that decides by itself."""

from collections.abc import Mapping
from dataclasses import replace

from vmcp.api.gatewayconfig import GatewayBackend, GatewayConfig
from vmcp.health.policy import HealthPolicy, policy_of
from vmcp.health.target import Target, Wire
from vmcp.mcp.transport import Peer


def targets_of(config: GatewayConfig, ca_bundles: Mapping[str, str]) -> list[Target]:
    """One target a backend.

    Args:
        config: what the gateway runs by.
        ca_bundles: PEM text by `caBundlePath`; a path that is not in it is one that this process cannot read, and the
            backend's certificate is then not verified.
    """
    handling = config.operational.failure_handling if config.operational else None
    everybodys = policy_of(handling)
    own = {name: policy_of(handling, name) for name in (handling.per_backend or {} if handling else {})}
    return [_target(backend, own.get(backend.name, everybodys), ca_bundles) for backend in config.backends]


def _target(backend: GatewayBackend, policy: HealthPolicy, ca_bundles: Mapping[str, str]) -> Target:
    path = backend.ca_bundle_path
    verify = path is None or path in ca_bundles
    return Target(
        name=backend.name,
        url=backend.url,
        # A backend that is never called cannot be forced into use either.
        policy=replace(policy, overrule=None) if backend.unavailable_reason else policy,
        wire=Wire(backend.transport),
        auth_configured=backend.auth_configured,
        headers=tuple(sorted(backend.headers.items())),
        peer=Peer(backend.allow_private, ca_bundles.get(path) if path else None, verify),
        fingerprint=backend.fingerprint,
        never_call=backend.unavailable_reason,
        note="" if verify else "certificate not verified by this check: its CA bundle is a file of the gateway's pod",
    )
