"""From a gateway's configuration to targets: each backend by its own policy."""

from vmcp.api.gatewayconfig import GatewayConfig, dump_gateway_config, load_gateway_config
from vmcp.api.operational import OverrideMode
from vmcp.health.policy import Overrule
from vmcp.health.targets import targets_of


def config(**never: str) -> GatewayConfig:
    override = {"mode": "forcedClosed", "until": "2027-01-15T08:00:00Z"}
    own = {name: {"healthCheckInterval": "7s", "override": override} for name in ("a", "gone")}
    backends = [
        {"name": name, "url": f"http://{name}/mcp", "transport": "sse", "unavailableReason": never.get(name, "")}
        for name in ("a", "b")
    ]
    handling = {"failureHandling": {"healthCheckInterval": "20s", "perBackend": own}}
    text = GatewayConfig.model_validate(
        {"incomingAuth": {"type": "anonymous"}, "backends": backends, "operational": handling}
    )
    return load_gateway_config(dump_gateway_config(text))


def test_each_backend_has_its_own_policy_also_after_the_way_through_config_yaml() -> None:
    a, b = targets_of(config(), {})
    assert (a.policy.interval_s, b.policy.interval_s) == (7.0, 20.0)
    assert a.policy.overrule == Overrule(OverrideMode.FORCED_CLOSED, 1_800_000_000.0)
    assert b.policy.overrule is None


def test_a_backend_that_may_never_be_called_is_not_forced_into_use() -> None:
    a, _ = targets_of(config(a="its auth cannot be done"), {})
    assert a.policy.overrule is None
