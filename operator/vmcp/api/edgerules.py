"""What may be configured of the gateway's edge: which headers pass through, and which hosts it is reached under."""

import re
from collections.abc import Iterator, Sequence

from vmcp.api.problem import Problem, field_path

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")

# A list may name what backends should see of a caller. What speaks for the gateway itself, for HTTP's framing or for
# MCP would let a caller take the gateway's part; a caller's credentials for the gateway are not for backends.
_NEVER = frozenset(
    {
        "accept", "accept-encoding", "authorization", "connection", "content-encoding", "content-length",
        "content-type", "cookie", "expect", "forwarded", "host", "keep-alive", "last-event-id", "origin",
        "proxy-authenticate", "proxy-authorization", "proxy-connection", "set-cookie", "te", "traceparent",
        "tracestate", "trailer", "transfer-encoding", "upgrade", "via",
    }
)  # fmt: skip
_NEVER_PREFIXES = ("mcp-", "proxy-", "sec-", "x-forwarded-")


def may_pass(header: str) -> bool:
    """Whether a header of a caller may be passed on to backends when a list names it."""
    name = header.lower()
    return name not in _NEVER and not name.startswith(_NEVER_PREFIXES)


def passthrough_problems(headers: Sequence[str], *path: str) -> Iterator[Problem]:
    """What is wrong with a list of headers to pass through."""
    for index, header in enumerate(headers):
        place = field_path(*path, index)
        if not _HEADER_NAME.fullmatch(header):
            yield Problem(place, f"{header[:80]!r} is not a header name; write one such as X-Request-Id")
        elif header.lower() in ("traceparent", "tracestate"):
            yield Problem(place, f"{header} is passed on as it is; remove it")
        elif not may_pass(header):
            yield Problem(
                place,
                f"{header} cannot be passed on: it belongs to HTTP, to MCP or to the caller's own login; remove it",
            )


def host_problems(hosts: Sequence[str], *path: str) -> Iterator[Problem]:
    """What is wrong with a list of host names."""
    for index, host in enumerate(hosts):
        if len(host) > 253 or not _HOST.fullmatch(host):
            yield Problem(
                field_path(*path, index), f"{host[:80]!r} is not a host name; write it like mcp.example.com, no port"
            )
