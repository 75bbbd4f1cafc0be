"""What kopf hands to every handler."""

from dataclasses import dataclass

import kopf

from vmcp.api.kinds import Kind
from vmcp.handlers.inbox import Inbox, Seen
from vmcp.handlers.watchage import WatchAge


@dataclass(slots=True)
class Memo:
    """Carries the inbox into the handlers, and into the login how old the watches are."""

    inbox: Inbox
    age: WatchAge

    def seen(self, kind: Kind, event: kopf.RawEvent) -> None:
        """Hand the event over. kopf gives no type to what it lists."""
        obj = dict(event["object"])
        self.inbox.put(Seen(kind, obj, deleted=event["type"] == "DELETED", listed=event["type"] is None))
