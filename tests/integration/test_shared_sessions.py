"""Pods of several workers, and replicas that share sessions: what the operator sets up is what the gateways do."""

import asyncio
from pathlib import Path

import httpx
from tests.integration.stage import OperatorProcess, Stage, entry, eventually, gateway, group, mcp_backends

from vmcp_dev.redisserver import RedisServer
from vmcp_dev.runnerthread import RunnerThread

PASSWORD = "geheim"


async def test_replicas_share_sessions_in_redis(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread, tmp_path: Path
) -> None:
    redis = RedisServer(tmp_path, password=PASSWORD)
    redis.start()
    storage = {
        "provider": "redis",
        "address": redis.address,
        "passwordRef": {"name": "redis", "key": "password"},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"password": PASSWORD}}
    try:
        with mcp_backends("alpha") as backends:
            members = [entry(name, backend.url) for name, backend in backends.items()]
            stage.apply(secret, group(), *members, gateway(replicas=2, sessionStorage=storage))
            await asyncio.to_thread(eventually, lambda: stage.status("front")["phase"] == "Ready")
            conditions = {each["type"]: each for each in stage.status("front")["conditions"]}
            warning = conditions["SessionStorageWarning"]
            assert (warning["status"], warning["reason"]) == ("False", "SessionStorageConfigured")
            assert conditions["FeaturesSupported"]["status"] == "True"
            address = local_runner.wait_address(stage.namespace, "front")
            await asyncio.to_thread(eventually, lambda: "vmcp_gateway_session_storage_up 1.0" in _metrics(address))
            (config,) = [each for each in stage.every("configmaps") if each["metadata"]["name"] == "front-vmcp-config"]
            assert PASSWORD not in str(config)
            assert PASSWORD not in str(stage.every("deployments"))
    finally:
        redis.stop()


async def test_every_worker_of_a_pod_goes_by_the_operators_status(
    stage: Stage, operator: OperatorProcess, local_runner: RunnerThread
) -> None:
    workers = {"name": "vmcp", "env": [{"name": "VMCP_WORKERS", "value": "2"}]}
    with mcp_backends("alpha") as backends:
        alpha = backends["alpha"]
        template = {"spec": {"containers": [workers]}}
        stage.apply(group(), entry("alpha", alpha.url), gateway(podTemplateSpec=template))
        await asyncio.to_thread(eventually, lambda: stage.status("front")["phase"] == "Ready")
        address = local_runner.wait_address(stage.namespace, "front")
        await asyncio.to_thread(eventually, lambda: _seen(address) == {"healthy"})
        alpha.kill()
        await asyncio.to_thread(eventually, lambda: _seen(address) == {"unhealthy"})
        alpha.start()
        await asyncio.to_thread(eventually, lambda: _seen(address) == {"healthy"})


def _seen(address: str) -> set[str]:
    """What the workers say of the backend: so many connections do not all come to the same one."""
    answers = [httpx.get(f"{address}/status", timeout=30).json() for _ in range(16)]
    return {answer["backends"][0]["health"] for answer in answers}


def _metrics(address: str) -> str:
    return httpx.get(f"{address}/metrics", timeout=30).text
