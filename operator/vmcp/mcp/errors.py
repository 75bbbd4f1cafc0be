"""What may go wrong with a backend, in the vocabulary of `ErrorCategory`."""

from vmcp.api.category import ErrorCategory


class BackendError(Exception):
    """A backend gave no answer that is MCP. The message is a sentence for a person, without secrets or raw error text.

    Attributes:
        category: what kind of failure; what it means for health is in `vmcp.health.outcome`.
        http_status: status of the answer, None without one.
        retry_after_s: what the backend asked for by Retry-After, in seconds, at most 300.
        sent: False = the request provably did not reach the backend, so that repeating it is safe.
        spoke: under a 502, 503 or 504 came a JSON-RPC message all the same: the backend itself, and no proxy before it.
    """

    def __init__(
        self,
        category: ErrorCategory,
        message: str,
        *,
        http_status: int | None = None,
        retry_after_s: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.category = category
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.sent = sent
        self.spoke = False


class SessionGoneError(BackendError):
    """The server no longer knows the session, or speaks another era by now; the request was not processed."""
