"""What a VirtualMCPServer owns, and the Pods of its Deployment, watched by label: every event is handed over."""

import kopf

from vmcp.handlers.memo import Memo
from vmcp.kube.kinds import CONFIG_MAP, DEPLOYMENT, LEASE, POD, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT
from vmcp.reconcile.names import NAME_LABEL, NAME_LABEL_VALUE

KINDS = (CONFIG_MAP, DEPLOYMENT, LEASE, POD, ROLE, ROLE_BINDING, SERVICE, SERVICE_ACCOUNT)
_BY_PLURAL = {kind.plural: kind for kind in KINDS}


async def changed(event: kopf.RawEvent, memo: Memo, resource: kopf.Resource, **_: object) -> None:
    """Hand over: a deleted or changed object is restored at once."""
    memo.seen(_BY_PLURAL[resource.plural], event)


for _kind in KINDS:
    kopf.on.event(_kind.group, _kind.version, _kind.plural, labels={NAME_LABEL: NAME_LABEL_VALUE})(changed)
