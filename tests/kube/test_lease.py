"""The Lease's name and holder, and what happens without an API server."""

import asyncio
from pathlib import Path

import pytest

from vmcp.kube import lease as module
from vmcp.kube.client import JsonObject, Kube, KubeError
from vmcp.kube.kinds import LEASE
from vmcp.kube.lease import Alone, Lease, LeaseLost, identity, lease_name, own_namespace


class Flaky(Kube):
    """Answers while it is not away."""

    def __init__(self) -> None:
        self.away = False
        self.calls = 0
        self.seconds = 1000.0

    async def get(self, kind: object, namespace: str, name: str) -> JsonObject:
        self._called()
        return {"metadata": {"resourceVersion": "1"}, "spec": {}}

    async def patch(
        self, kind: object, namespace: str, name: str, body: JsonObject, *, subresource: str = ""
    ) -> JsonObject:
        self._called()
        return {"metadata": {"resourceVersion": str(self.calls)}}

    def _called(self) -> None:
        self.calls += 1
        if self.away:
            self.seconds += 0.1
            raise KubeError(0, "NoAnswer", "no answer")


def test_operators_of_the_same_namespaces_stand_for_the_same_lease() -> None:
    assert lease_name([]) == "vmcp-operator"
    assert lease_name(["a", "b"]) == lease_name(["b", "a", "a"])
    assert len({lease_name([]), lease_name(["a"]), lease_name(["b"]), lease_name(["a", "b"])}) == 4
    assert len(lease_name(["n" * 63] * 50)) <= 63


def test_no_two_processes_are_the_same_holder() -> None:
    assert identity() != identity()


def test_the_namespace_is_that_of_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NAMESPACE_FILE", tmp_path / "namespace")
    assert own_namespace() == "default"
    (tmp_path / "namespace").write_text("operators\n")
    assert own_namespace() == "operators"


async def test_who_is_alone_may_always_act() -> None:
    alone = Alone()
    await alone.acquire()
    assert alone.held
    alone.check()
    await alone.release()


async def test_renewals_that_fail_are_tried_until_the_lease_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.01)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    kube = Flaky()
    lease = Lease(kube=kube, namespace="n", name="l", identity="me", now=lambda: kube.seconds)
    await lease.acquire()
    kube.away = True
    before = kube.calls
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(30):
            await lease.keep()
    assert kube.calls - before == pytest.approx(module.RENEW_WITHIN_S / 0.1, abs=1)
    assert not lease.held


async def test_an_api_server_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    kube = Flaky()
    kube.away = True
    lease = Lease(kube=kube, namespace="n", name="l", identity="me")
    waiting = asyncio.create_task(lease.acquire())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    kube.away = False
    async with asyncio.timeout(30):
        await waiting
    assert lease.held


async def test_a_fence_is_asked_before_writes_and_not_before_reads() -> None:
    def refuse() -> None:
        raise LeaseLost("lost")

    class Api:
        sent = 0

        async def param_serialize(self, *args: object, **more: object) -> tuple[object, ...]:
            return ()

        async def call_api(self, *args: object, **more: object) -> object:
            self.sent += 1
            raise OSError("not here")

    api = Api()
    kube = Kube(api).fenced(refuse)  # type: ignore[arg-type]
    with pytest.raises(LeaseLost):
        await kube.create(LEASE, {"metadata": {"namespace": "n", "name": "l"}})
    assert api.sent == 0
    with pytest.raises(KubeError, match="no answer"):
        await kube.get(LEASE, "n", "l")
    assert api.sent == 1
