"""What a configuration means for backends."""

from pathlib import Path

import pytest
from tests.gateway.world import config, entry

from vmcp.api.category import ErrorCategory
from vmcp.api.gatewayconfig import GatewayConfig
from vmcp.gateway.fleet import read_ca_bundles, with_fingerprints
from vmcp.gateway.settings import of_the_user
from vmcp.health.targets import targets_of
from vmcp.mcp.guard import AddressGuard
from vmcp.mcp.tls import TlsContexts
from vmcp.mcp.transport import TransportError


@pytest.mark.parametrize("content", [None, "", "  \n", "not a certificate"])
def test_a_ca_bundle_that_cannot_be_used_trusts_nobody(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    loaded = GatewayConfig.model_validate(config(entry("a", "https://a/mcp", caBundlePath=str(path))))
    (target,) = targets_of(loaded, read_ca_bundles(loaded))
    assert target.peer.verify
    with pytest.raises(TransportError) as caught:
        TlsContexts().of(target.peer)
    assert caught.value.category is ErrorCategory.TLS


def test_a_written_fingerprint_is_kept_and_a_missing_one_follows_the_target() -> None:
    def fingerprint(**more: object) -> str:
        loaded = GatewayConfig.model_validate(config(entry("a", "http://a/mcp") | more))
        return with_fingerprints(loaded).backends[0].fingerprint

    assert fingerprint(fingerprint="given") == "given"
    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(url="http://b/mcp"), fingerprint(transport="sse")}) == 3


def test_a_users_own_configuration_may_name_private_addresses() -> None:
    loaded = of_the_user(GatewayConfig.model_validate(config(entry("a", "http://192.168.1.5/mcp"))))
    (target,) = targets_of(loaded, {})
    assert AddressGuard().refusal("192.168.1.5", target.peer) is None
    assert AddressGuard().refusal("169.254.169.254", target.peer) is not None
