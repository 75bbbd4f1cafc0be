"""The probe: one POST on a kept connection and session, read as an outcome (design §3 rules 5, 6)."""

import asyncio
from typing import Final

import vmcp
from vmcp.api.category import ErrorCategory
from vmcp.health.monitor import Check
from vmcp.health.outcome import Outcome
from vmcp.health.target import Target
from vmcp.mcp.backend import Address, Backend, BackendError
from vmcp.mcp.transport import Transport

_CLIENT_NAME: Final = "vmcp-probe"
_MOST_FAREWELLS: Final = 64

_Key = tuple[object, ...]


class Probe(Check):
    """Keeps one backend, with its era and session, for each target.

    Never sends `tools/call`, and no `initialize` while a session stands. A check costs the target's timeout at most:
    nothing that is closed or given up is waited for.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._backends: dict[_Key, Backend] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    async def check(self, target: Target) -> Outcome:
        """What the backend showed, within `target.policy.timeout_s`."""
        backend = self._backend(target)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            await backend.ping(timeout=target.policy.timeout_s)
        except BackendError as error:
            return Outcome(
                category=error.category,
                latency_s=now() - began if error.http_status is not None else None,
                retry_after_s=error.retry_after_s,
                mcp_revision=backend.revision,
                detail=_sentence(error, target),
            )
        return Outcome(latency_s=now() - began, mcp_revision=backend.revision)

    def forget(self, target: Target) -> None:
        """End the target's session. Returns at once; the farewell takes a second at most."""
        backend = self._backends.pop(_key(target), None)
        if backend is None:
            return
        if len(self._farewells) >= _MOST_FAREWELLS:
            backend.drop()
            return
        farewell = asyncio.get_running_loop().create_task(backend.close())
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def close(self) -> None:
        """End every session, best effort, within a second."""
        backends, self._backends = list(self._backends.values()), {}
        async with asyncio.TaskGroup() as farewells:
            for backend in backends:
                farewells.create_task(backend.close())
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=1.0)

    def _backend(self, target: Target) -> Backend:
        key = _key(target)
        backend = self._backends.get(key)
        if backend is None:
            address = Address(target.url, target.wire, target.headers, target.peer)
            backend = self._backends[key] = Backend(
                self._transport, address, client_name=_CLIENT_NAME, client_version=vmcp.__version__
            )
        return backend


def _key(target: Target) -> _Key:
    return target.owner, target.name, target.fingerprint, target.url, target.wire, target.headers, target.peer


def _sentence(error: BackendError, target: Target) -> str:
    if error.category is ErrorCategory.AUTH_REQUIRED and target.auth_configured:
        return "The server answers and asks for the credentials that the gateway has."
    if error.category is ErrorCategory.TIMEOUT:
        return f"No complete answer within {target.policy.timeout_s:g} s."
    return str(error)
