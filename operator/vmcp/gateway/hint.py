"""Tells the operator what calls show of backends, by a patch of the gateway's own Lease (design §6).

The right to patch that Lease is all the authentication there is, and no port is needed. At most one patch a second;
what happens meanwhile is told together, each backend's latest news.
"""

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from urllib.parse import quote

from vmcp.api.passive import ANNOTATION, MOST_BACKENDS, PassiveReport, Sighting, dump_report
from vmcp.gateway.kubewatch import ServiceAccount
from vmcp.health.clock import Clock, SystemClock
from vmcp.mcp.transport import Transport, TransportError

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
ANSWER_TIMEOUT_S: Final = 5.0
LONGEST_AGE_S: Final = 60.0
"""News that could not be told for longer is none any more."""


@dataclass(frozen=True, slots=True)
class _News:
    """The latest of one backend. Monotonic seconds; neither reached nor withheld = a failure is the news."""

    name: str
    fingerprint: str
    failures: int
    at: float
    reached_at: float | None = None
    withheld: bool = False


class Hint:
    """Our Lease at the operator's ear. Holds the latest news of each backend, nothing more.

    Args:
        replica: the pod's name.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        account: ServiceAccount,
        namespace: str,
        name: str,
        replica: str,
        clock: Clock | None = None,
    ) -> None:
        lease = quote(f"{name}-vmcp", safe="")
        collection = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace, safe='')}/leases"
        self._path = f"{collection}/{lease}?fieldManager=vmcp-gateway"
        self._transport = transport
        self._account = account
        self._replica = replica
        self._clock = clock or SystemClock()
        self._news: dict[str, _News] = {}
        self._arrived = asyncio.Event()

    def failed(self, name: str, fingerprint: str, failures: int) -> None:
        """So many calls in a row to this backend failed."""
        self._put(_News(name, fingerprint, failures, self._clock.monotonic()))

    def reached(self, name: str, fingerprint: str, at: float) -> None:
        """Calls to this backend succeed although the operator says that it fails; the last at that time, monotonic."""
        self._put(_News(name, fingerprint, 0, self._clock.monotonic(), at))

    def withheld(self, name: str, fingerprint: str) -> None:
        """This backend is not called for want of a header's value: the operator cannot see that, having no Secrets."""
        self._put(_News(name, fingerprint, 0, self._clock.monotonic(), withheld=True))

    async def run(self) -> None:
        """Tell until cancelled. What goes wrong is logged once in a row and tried again."""
        pause_s, complaint = EVERY_S, ""
        while True:
            await self._arrived.wait()
            told = self._next()
            reason = await self._patch(told) if told else ""
            if reason and reason != complaint:
                log.warning("the operator cannot be told of backends: %s", reason)
            complaint = reason
            pause_s = min(2 * pause_s, LAST_RETRY_S) if reason else EVERY_S
            if not reason:
                self._told(told)
            await asyncio.sleep(pause_s)

    def _put(self, news: _News) -> None:
        # Last in line again, so that a backend with much news keeps no other waiting.
        self._news.pop(news.name, None)
        self._news[news.name] = news
        self._arrived.set()

    def _next(self) -> list[_News]:
        oldest = self._clock.monotonic() - LONGEST_AGE_S
        self._news = {name: news for name, news in self._news.items() if news.at >= oldest}
        return list(islice(self._news.values(), MOST_BACKENDS))

    def _told(self, told: list[_News]) -> None:
        for news in told:
            if self._news.get(news.name) is news:
                del self._news[news.name]
        if not self._news:
            self._arrived.clear()

    async def _patch(self, told: list[_News]) -> str:
        """Why the news could not be told; empty = it was."""
        now = self._clock.monotonic()
        report = PassiveReport(
            replica=self._replica,
            time=datetime.fromtimestamp(self._clock.wall(), UTC),
            backends=[_sighting(news, now) for news in told],
        )
        body = json.dumps({"metadata": {"annotations": {ANNOTATION: dump_report(report)}}}).encode()
        try:
            request = self._account.patch(self._path, body)
            response = await self._transport.send(request, timeout=ANSWER_TIMEOUT_S)
        except TransportError as error:
            return f"{error.category.value}: {error}"
        except OSError as error:
            return f"the ServiceAccount's files: {error.strerror}"
        response.release()
        return "" if response.status == 200 else f"the patch of our Lease was answered with HTTP {response.status}"


def _sighting(news: _News, now: float) -> Sighting:
    ago = None if news.reached_at is None else round(max(0.0, now - news.reached_at), 3)
    return Sighting(
        name=news.name,
        fingerprint=news.fingerprint,
        failures=news.failures,
        withheld=news.withheld,
        reached_seconds_ago=ago,
    )
