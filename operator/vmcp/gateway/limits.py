"""How much of the gateway one client may take: sizes, depths and times."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the edge. Every one of them ends a request or a connection, never the gateway.

    Attributes:
        head_s: from the first byte of a request to the end of its head, or from the opening of a connection.
        body_s: from the end of the head to the end of the body.
        idle_s: a connection without a request is kept this long; longer than reverse proxies keep theirs, since a
            request sent on a connection that is about to close is lost.
        stall_s: how often a client that does not keep up is looked at while it is owed an answer.
        least_bytes_s: what it must have taken per second by then.
        head_bytes: request line and headers together.
        headers: number of headers.
        body_bytes: one request's body.
        json_depth: objects and arrays within each other.
        connections: open at once; one more is answered with 503.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: int = 75
    stall_s: float = 15.0
    least_bytes_s: int = 1024
    head_bytes: int = 32 * 1024
    headers: int = 100
    body_bytes: int = 4 * 1024 * 1024
    json_depth: int = 100
    connections: int = 20_000
