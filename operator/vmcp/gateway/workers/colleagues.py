"""The other workers of a gateway, as one worker sees them: what it says to them, and what it makes of what they say."""

import asyncio
import socket
from collections.abc import Callable

from vmcp.gateway.fleet import Fleet
from vmcp.gateway.passive import Passive
from vmcp.gateway.workers.gathering import Gathering
from vmcp.gateway.workers.mail import Letter, Mail
from vmcp.gateway.workers.moving import MOVED, Arrivals, Moving
from vmcp.gateway.workers.team import HELLO, SIGHTING, STATE, Follower, Leader


class Colleagues:
    """Everything that passes between the workers.

    Attributes:
        place: what tells, in the state of a held call, that it is here.
        leader: this worker's part where it leads, else None.
        follower: this worker's part where another leads, else None.
        moving: brings requests to the worker that they belong to.
        gathering: the metrics of all.

    Args:
        passive: the local breaker, where this worker leads; None = it follows.
        metrics: this worker's own, as Prometheus reads them.
        reconfigure: takes over a changed configuration.
        informed: called whenever the leader has spoken.
        waiting: why the leader has nothing to tell yet; empty = it has.
        draining: nothing is brought elsewhere any more.
    """

    def __init__(
        self,
        mail: Mail,
        *,
        fleet: Fleet,
        passive: Passive | None,
        metrics: Callable[[], bytes],
        reconfigure: Callable[[str], None],
        informed: Callable[[], None],
        waiting: Callable[[], str],
        draining: Callable[[], bool],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.place = f"{mail.index}."
        self.moving = Moving(mail, stopping=draining)
        self.gathering = Gathering(mail, own=metrics, tasks=tasks)
        self.leader: Leader | None = None
        self.follower: Follower | None = None
        if passive is None:
            self.follower = Follower(mail, fleet=fleet, reconfigure=reconfigure, informed=informed)
        else:
            self.leader = Leader(mail, fleet=fleet, passive=passive, waiting=waiting)
        self._mail = mail
        self._tasks = tasks
        self._arrivals: Arrivals | None = None

    def begin(self, arrivals: Arrivals) -> None:
        """Take part from now on."""
        self._arrivals = arrivals
        self._tasks.create_task(self._mail.run(self._deliver))
        if self.follower is not None:
            self.follower.begin()
        if self.leader is not None:
            self.leader.all_anew()

    def _deliver(self, letter: Letter, given: socket.socket | None) -> None:
        if letter.kind == MOVED:
            if given is not None and self._arrivals is not None:
                self._arrivals.take(letter, given)
        elif letter.kind == STATE:
            if self.follower is not None:
                self.follower.told(letter)
        elif letter.kind in (HELLO, SIGHTING):
            if self.leader is not None:
                self.leader.hear(letter)
        else:
            self.gathering.deliver(letter)
