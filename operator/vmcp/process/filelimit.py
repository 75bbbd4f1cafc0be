"""Open files: every target keeps a connection, so the limit is raised, and a limit that is too low is said."""

import logging
import resource

RESERVE = 256
"""For everything but targets: the API server's connections, log, listener, gateways' change streams."""

log = logging.getLogger(__name__)


class FileLimit:
    """The process's limit of open files, as high as it may be raised."""

    def __init__(self) -> None:
        self._limit = _raise()
        self._too_low = False

    def judge(self, targets: int) -> None:
        """Warn once when this many targets are more than the limit carries, and say when they no longer are."""
        too_low = self._limit is not None and targets + RESERVE > self._limit
        if too_low and not self._too_low:
            log.warning(
                "%d targets need about %d open files, the limit is %d: checks will fail; raise `ulimit -n`",
                targets,
                targets + RESERVE,
                self._limit,
            )
        elif self._too_low and not too_low:
            log.info("the limit of %d open files is enough for %d targets", self._limit, targets)
        self._too_low = too_low


def _raise() -> int | None:
    """The soft limit, raised to the hard one; None = there is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as error:
            log.warning("the limit of open files stays at %d: %s", soft, error)
    return None if soft == resource.RLIM_INFINITY else soft
