"""A person's word counts at the gateway: by the configuration at once, and by the status from then on."""

from tests.gateway.test_catalog import upstream

from vmcp.api.operational import OverrideMode
from vmcp.gateway.upstream import Upstream
from vmcp.health.snapshot import Circuit, Health, Override, Snapshot


def seen(health: Health, *, circuit: Circuit = Circuit.CLOSED, mode: OverrideMode | None = None) -> Snapshot:
    override = Override(mode, 1.0) if mode else None
    return Snapshot("a", "http://a/mcp", "f-a", health, circuit, override=override)


def test_a_backend_forced_open_is_out_before_the_status_tells_of_it() -> None:
    known = upstream("a")
    assert known.usable
    out = Upstream(known.config, known.backend, fingerprint="f-a", timeout_s=1, forced_open=True)
    assert not out.usable
    out.see(seen(Health.HEALTHY))
    assert out.usable


def test_a_backend_forced_closed_is_in_whatever_its_health() -> None:
    known = upstream("a")
    known.see(seen(Health.UNHEALTHY))
    assert not known.usable
    known.see(seen(Health.UNHEALTHY, mode=OverrideMode.FORCED_CLOSED))
    assert known.usable
    known.see(seen(Health.UNHEALTHY, circuit=Circuit.OPEN, mode=OverrideMode.FORCED_OPEN))
    assert not known.usable
