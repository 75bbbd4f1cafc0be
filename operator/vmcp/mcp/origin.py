"""From a URL to what HTTP/1.1 and a socket need of it."""

import ipaddress
from urllib.parse import quote, urlsplit

import msgspec

_KEEP = "%/:=&?~#+!$,;'@()*[]"


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port: what a connection is made to."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """For the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def literal(self) -> bool:
        """Whether the host is an IP address, so that nothing need be resolved."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse_url(url: str) -> tuple[Origin, str]:
    """The origin and the request target (path and query). Userinfo and fragment are never sent.

    Raises:
        ValueError: not an http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # their text quotes the URL, which may hold a password
        raise ValueError("not a URL that can be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http:// or https:// URL with a host")
    tls = parts.scheme == "https"
    host = parts.hostname
    try:
        # Of an ASCII name too: one with an empty label, or one that is too long, cannot be resolved.
        host = host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError("the host is no name that DNS knows") from None
    if any(character.isspace() for character in host):
        raise ValueError("a host name has no white space")
    target = quote(parts.path or "/", safe=_KEEP)
    if parts.query:
        target += "?" + quote(parts.query, safe=_KEEP)
    return Origin(tls, host, port or (443 if tls else 80)), target


def shown(url: str) -> str:
    """The URL for people and logs: without userinfo, query and fragment, which may hold secrets."""
    try:
        origin, _ = parse_url(url)
    except ValueError:
        return "the URL"
    scheme = "https" if origin.tls else "http"
    return f"{scheme}://{origin.authority}{urlsplit(url).path}"
