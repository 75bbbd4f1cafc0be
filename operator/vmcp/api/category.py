"""Why a check of a backend did not simply succeed: one vocabulary for code, status and metrics."""

from enum import StrEnum


class ErrorCategory(StrEnum):
    """The category of a check's outcome; what each means for health is in `vmcp.health.outcome`."""

    DNS = "dns"
    """The host name resolves to nothing."""
    FORBIDDEN = "forbidden"
    """The address guard refused the address that the name resolves to."""
    CONNECT = "connect"
    """Connection refused, unreachable, or reset before an answer."""
    TLS = "tls"
    """The TLS handshake failed or the certificate is not valid for the host."""
    TIMEOUT = "timeout"
    """No complete answer within the time allowed."""
    HTTP_4XX = "http_4xx"
    """A client error that no rule reads as alive: wrong path, wrong method, refused content type."""
    HTTP_5XX = "http_5xx"
    """A server error, whatever its body."""
    REDIRECT = "redirect"
    """A redirect; redirects are never followed."""
    RATE_LIMITED = "rate_limited"
    """429: alive, and asked to be left alone."""
    OVERLOADED = "overloaded"
    """503 with Retry-After."""
    AUTH_REQUIRED = "auth_required"
    """401 or 403: alive, and credentials are missing or refused."""
    PROTOCOL = "protocol"
    """An answer that is not MCP: HTML, a foreign id, an endless body, an error to `initialize`."""
    CANCELLED = "cancelled"
    """The check was given up by us; it says nothing of the backend."""
