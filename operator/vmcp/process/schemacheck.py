"""Looks whether the served CRDs are as new as we are; until they are, this operator is not ready.

It works all the same: what needs none of the missing fields goes on.
"""

import asyncio
import logging

from vmcp.kube.client import Kube, KubeError
from vmcp.kube.served import missing_fields

AGAIN_S = 10.0
EVERY_S = 600.0
"""CRDs that fit may be replaced by older ones."""

log = logging.getLogger(__name__)


class SchemaCheck:
    """Holds what is missing; nobody knows before the first look."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._missing: list[str] | None = None

    @property
    def problem(self) -> str:
        """What is missing and what to do; empty when all is there."""
        if self._missing is None:
            return "the CRDs were not looked at yet"
        return "; ".join([*self._missing, "run `kubectl apply --server-side -f crds/`"]) if self._missing else ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(EVERY_S if self._missing == [] else AGAIN_S)

    async def _look(self) -> None:
        try:
            missing = await missing_fields(self._kube)
        except KubeError as error:
            log.warning("cannot read the schema of the CRDs: %s", error)
            return
        if missing == self._missing:
            return
        had_problems, self._missing = bool(self._missing), missing
        if missing:
            log.error("%s", self.problem)
        elif had_problems:
            log.info("the CRDs are as new as this operator now")
