"""The address guard: which addresses a probe or a gateway may connect to (design §5).

It judges the address actually connected to, never a name, so that no name service can lead a request astray.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from vmcp.mcp.transport import Peer

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, GCP, Azure, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS ECS credentials
        "fd00:ec2::254",  # AWS over IPv6
        "fd20:ce::254",  # GCP over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure host, a public address
        "192.0.0.192",  # Oracle
    )
)
_NEVER: Final = tuple(
    (ipaddress.ip_network(text), what)
    for text, what in (
        ("0.0.0.0/8", "an unspecified address"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_LAST_32_BITS: Final = 0xFFFFFFFF


class AddressGuard:
    """Refuses addresses that a backend's URL must not lead to.

    Args:
        refused: addresses of the API server and of this process, refused whatever the peer allows.
        allow_loopback: loopback addresses pass, even where `refused` names them: for development on one machine.
    """

    def __init__(self, *, refused: Iterable[str] = (), allow_loopback: bool = False) -> None:
        self._refused = frozenset(normalized(text) for text in refused)
        self._allow_loopback = allow_loopback

    def refusal(self, address: str, peer: Peer) -> str | None:
        """Why `address` may not be connected to, as a sentence that says what to do; None when it may.

        Raises:
            ValueError: `address` is no IP address.
        """
        plain = normalized(address)
        if self._allow_loopback and plain.is_loopback:
            return None
        if plain in _METADATA:
            return f"{plain} is a cloud metadata address, which is always refused; use the address of the MCP server."
        for network, what in _NEVER:
            if plain in network:
                return f"{plain} is {what}, which is always refused; use an address of the MCP server in the network."
        if plain in self._refused:
            return (
                f"{plain} belongs to the API server or to this process, which is always refused; use the MCP server's."
            )
        if not peer.allow_private and any(plain in network for network in _PRIVATE):
            return (
                f"{plain} is a private address; set allowPrivateEndpoint: true on the backend, "
                "or use the in-cluster .svc name of its Service."
            )
        return None


def normalized(address: str) -> _Address:
    """The address that packets go to: an IPv4 address inside an IPv6 one is taken out, a zone is cut off.

    Raises:
        ValueError: not an IP address.
    """
    plain = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(plain, ipaddress.IPv4Address):
        return plain
    if plain.ipv4_mapped is not None:
        return plain.ipv4_mapped
    if plain.sixtofour is not None:
        return plain.sixtofour
    number = int(plain)
    # `::` and `::1` look IPv4-compatible and are not
    if plain in _NAT64 or (plain in _IPV4_COMPATIBLE and number > 1):
        return ipaddress.IPv4Address(number & _LAST_32_BITS)
    return plain
