"""Two gateway pods that share their sessions by Redis: a backend's session survives the gateway pod that opened it."""

import pytest

from e2e import faults, fleet
from e2e.conftest import Images
from e2e.scenario import Scenario
from e2e.session import Session, opened
from e2e.stage import Stage

pytestmark = pytest.mark.usefixtures("operator")

_PASSWORD = "e2e-redis-password"


async def test_backend_session_survives_either_gateway_pod(stage: Stage, pulled: Images, scenario: Scenario) -> None:
    await stage.apply(fleet.secret("redis", password=_PASSWORD), *fleet.redis(pulled.backend, _PASSWORD))
    await stage.backend_ready("redis")
    storage = {
        "provider": "redis",
        "address": f"redis.{stage.namespace}.svc.cluster.local:6379",
        "passwordRef": {"name": "redis", "key": "password"},
    }
    await stage.apply(*fleet.backend("first", pulled.backend, MCP_ERA="legacy"))
    await stage.serve_existing("first", replicas=2, sessionAffinity="None", sessionStorage=storage)
    await stage.two_pods_ready("tools")
    # A client that a backend may ask something has sessions of its own with backends.
    async with opened(await stage.url("tools"), {"elicitation": {}}) as session:
        assert await session.call("first_remember", text="across pods") == "kept"
        for number, victim in enumerate(await stage.ready_pods("tools"), start=1):
            faults.kill(stage.kind, victim)
            await scenario.until(f"pod {number} killed: backend's session goes on", lambda: _kept(session), limit_s=60)
            await stage.two_pods_ready("tools")


async def _kept(session: Session) -> bool:
    said = await session.call("first_recall")
    assert said == "across pods", said
    return True
