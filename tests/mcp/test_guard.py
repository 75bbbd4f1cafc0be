import pytest

from vmcp.mcp.guard import AddressGuard, normalized
from vmcp.mcp.transport import Peer

ALWAYS_REFUSED = [
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "::1", "::", "169.254.0.1", "169.254.169.254", "fe80::1",
    "fe80::1%eth0", "224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "240.0.0.1", "168.63.129.16",
    "100.100.100.200", "fd00:ec2::254", "192.0.0.192", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0.0.0.0", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "::127.0.0.1", "2002:7f00:1::", "10.96.0.1",
    "::ffff:10.96.0.1", "8.8.4.4",
]  # fmt: skip
PRIVATE = [
    "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1", "100.64.0.1", "100.127.255.254", "fc00::1", "fd12::1",
    "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "193.0.0.1", "11.0.0.1"]


@pytest.fixture
def guard() -> AddressGuard:
    return AddressGuard(refused=["10.96.0.1", "8.8.4.4"])


@pytest.mark.parametrize("address", ALWAYS_REFUSED)
@pytest.mark.parametrize("allow_private", [False, True])
def test_is_refused_whatever_the_peer_allows(guard: AddressGuard, address: str, allow_private: bool) -> None:
    assert guard.refusal(address, Peer(allow_private=allow_private))


@pytest.mark.parametrize("address", PRIVATE)
def test_private_ranges_pass_only_where_allowed_and_the_refusal_says_how(guard: AddressGuard, address: str) -> None:
    assert "allowPrivateEndpoint" in (guard.refusal(address, Peer()) or "")
    assert guard.refusal(address, Peer(allow_private=True)) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(guard: AddressGuard, address: str) -> None:
    assert guard.refusal(address, Peer()) is None


def test_loopback_passes_for_development_even_where_the_api_server_is_there() -> None:
    guard = AddressGuard(refused=["127.0.0.1"], allow_loopback=True)
    assert guard.refusal("127.0.0.1", Peer()) is None
    assert guard.refusal("::1", Peer()) is None
    assert guard.refusal("169.254.169.254", Peer())


def test_an_address_inside_another_is_taken_out() -> None:
    assert str(normalized("::ffff:1.2.3.4")) == "1.2.3.4"
    assert str(normalized("::1")) == "::1"


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="IP"):
        AddressGuard().refusal("localhost", Peer())
