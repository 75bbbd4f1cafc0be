"""What another replica must know to go on with a session, beyond what its id says."""

import msgspec

from vmcp.mcp.backend import JsonObject, KeptSession


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """A client's own session with one backend.

    Attributes:
        fingerprint: of the backend's target; a session with another target is none.
        uris: resources that the client subscribed to.
        session: the backend's session id, a secret; empty = it has none that could be gone on with.
    """

    fingerprint: str
    uris: list[str]
    session: str = ""
    revision: str = ""
    capabilities: JsonObject = {}
    server_info: JsonObject = {}

    @classmethod
    def of(cls, fingerprint: str, uris: list[str], kept: KeptSession | None) -> "Kept":
        """What is kept of a session, None = there is none."""
        if kept is None:
            return cls(fingerprint, uris)
        return cls(fingerprint, uris, kept.ident, kept.revision, kept.capabilities, kept.server_info)

    def adoptable(self) -> KeptSession | None:
        """The session with the backend."""
        if not self.session:
            return None
        return KeptSession(self.session, self.revision, self.capabilities, self.server_info)


class Memory(msgspec.Struct, array_like=True, frozen=True):
    """Of one client's session.

    Attributes:
        level: log level that the client chose, empty = none.
        apart: the client needs sessions of its own with backends.
        tasks: backend of each task that it began.
        links: its own sessions, by backend.
    """

    level: str
    apart: bool
    tasks: dict[str, str]
    links: dict[str, Kept]
