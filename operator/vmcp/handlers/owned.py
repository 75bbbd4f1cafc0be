"""What VirtualMCPServers and MCPServers own, and their Pods, watched by label: every event is handed over."""

from functools import cache

import kopf

from vmcp.api.kinds import Kind
from vmcp.handlers.memo import Memo
from vmcp.kube.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    LEASE,
    POD,
    ROLE,
    ROLE_BINDING,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)
from vmcp.reconcile.names import NAME_LABEL, OWNED_SELECTOR
from vmcp.reconcile.workloads.names import SELECTOR_WITH_SERVERS

KINDS = (CONFIG_MAP, DEPLOYMENT, LEASE, POD, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT)
"""What a VirtualMCPServer owns, and Pods."""
_BY_PLURAL = {kind.plural: kind for kind in (*KINDS, STATEFUL_SET)}


def kinds(*, with_servers: bool) -> tuple[Kind, ...]:
    """What is watched: an operator that runs no MCPServers needs no right to see StatefulSets."""
    return (*KINDS, STATEFUL_SET) if with_servers else KINDS


def selector(*, with_servers: bool) -> str:
    """By which labels."""
    return SELECTOR_WITH_SERVERS if with_servers else OWNED_SELECTOR


async def changed(event: kopf.RawEvent, memo: Memo, resource: kopf.Resource, **_: object) -> None:
    """Hand over: a deleted or changed object is restored at once."""
    memo.seen(_BY_PLURAL[resource.plural], event)


@cache
def register(kind: Kind) -> None:
    """Have kopf watch the kind. `settings.watching.label_selectors` says which objects of it."""
    kopf.on.event(kind.group, kind.version, kind.plural, labels={NAME_LABEL: kopf.PRESENT})(changed)
