"""Under which hosts the gateway is reached, and web pages of which hosts may call it.

A page can make a browser call any address (DNS rebinding: its own name is made to point there). Its browser cannot help
telling the truth in two headers: Host has the name that was called, Origin the page's own.
"""

import ipaddress
import re
from collections.abc import Collection

_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::[0-9]{1,5})?")
_ORIGIN = re.compile(rb"https?://(.+)", re.IGNORECASE)
_REMEMBERED = 256


class Hosts:
    """Judges Host and Origin.

    Args:
        local: the gateway listens on loopback only, on somebody's own machine.
    """

    def __init__(self, *, local: bool) -> None:
        self._local = local
        self._allowed: frozenset[str] = frozenset()
        self._taken: set[bytes] = set()

    def allow(self, hosts: Collection[str]) -> None:
        """Further host names, all of them (`allowedHosts`); none = no more than what needs no list."""
        self._allowed = frozenset(host.lower() for host in hosts)
        self._taken.clear()

    def takes(self, authority: bytes) -> bool:
        """Whether a request for this Host (`name:port`) is for us.

        Loopback always. Elsewhere addresses and names within the cluster, which no page can make point at us, and the
        listed names; any name when none is listed, since a proxy before us may have any.
        """
        if authority in self._taken:
            return True
        host = _host(authority)
        taken = host is not None and (
            _is_loopback(host)
            or host in self._allowed
            or (not self._local and (not self._allowed or _cannot_be_made_ours(host)))
        )
        if taken and len(self._taken) < _REMEMBERED:
            self._taken.add(authority)
        return taken

    def welcomes(self, origin: bytes, authority: bytes) -> bool:
        """Whether a page of this Origin may call: one of this machine or of a listed host, or one of our own host
        where its name cannot have been made to point at us.
        """
        matched = _ORIGIN.fullmatch(origin)
        page = _host(matched.group(1)) if matched else None
        if page is None:
            return False
        if _is_loopback(page) or page in self._allowed:
            return True
        return not self._local and page == _host(authority) and _cannot_be_made_ours(page)


def is_loopback_address(host: str) -> bool:
    """Whether listening on this host reaches this machine only."""
    return _is_loopback(host)


def _host(authority: bytes) -> str | None:
    matched = _AUTHORITY.fullmatch(authority)
    return matched.group(1).decode().lower().strip("[]").rstrip(".") if matched else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cannot_be_made_ours(host: str) -> bool:
    """An address is no name; and names without a dot or within the cluster are not the Internet's to give."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".svc", ".svc.cluster.local"))
    return True
