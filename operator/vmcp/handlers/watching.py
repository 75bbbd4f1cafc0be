"""kopf in a thread and loop of its own.

It cancels every task that its loop was given after it started, and it raises when the API server stays away for about a
minute: so it gets a loop where nothing else lives, and is started again when it ends.
"""

import asyncio
import logging
import threading
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import kopf

from vmcp.handlers import mcpgroups, mcpremoteproxies, mcpserverentries, mcpservers, owned, virtualmcpservers
from vmcp.handlers.inbox import Inbox
from vmcp.handlers.memo import Memo
from vmcp.handlers.watchage import WatchAge

HANDLERS = (virtualmcpservers, mcpgroups, mcpserverentries, mcpremoteproxies, mcpservers, owned)
"""Importing them registers them."""

RESTART_S = 1.0
LOGIN_AGAIN_S = 1.0
STOP_S = 10.0

log = logging.getLogger(__name__)


@kopf.on.login()
async def login(memo: Memo, **kwargs: Any) -> kopf.AiohttpSession | None:
    """By the kubeconfig that KUBECONFIG names, else as the pod that this process runs in."""
    info = kopf.login_with_kubeconfig(**kwargs) or kopf.login_with_service_account(**kwargs)
    if info is None:
        return None
    # kopf tells refused credentials from new ones by comparing them, and no two sessions are equal: without a pause
    # a token that is refused would be tried again and again.
    if memo.age.sessions:
        await asyncio.sleep(LOGIN_AGAIN_S)
    return kopf.AiohttpSession(
        server=info.server,
        priority=info.priority,
        default_namespace=info.default_namespace,
        expiration=info.expiration,
        aiohttp_session=memo.age.session(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trust_env=info.trust_env,
        ),
    )


@dataclass(frozen=True, slots=True)
class Watching:
    """What is watched, and where it is noted how long the watches have been silent.

    Attributes:
        with_servers: what MCPServers own is watched, too.
    """

    age: WatchAge
    namespaces: tuple[str, ...] = ()
    with_servers: bool = False


async def watch(inbox: Inbox, watching: Watching) -> None:
    """Run kopf until cancelled. Raises nothing of kopf's: it is logged, and kopf is started again."""
    for kind in owned.kinds(with_servers=watching.with_servers):
        owned.register(kind)
    stop = threading.Event()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        try:
            asyncio.run(_serve(inbox, watching, stop))
        finally:
            loop.call_soon_threadsafe(ended.set)

    thread = threading.Thread(target=work, name="kopf", daemon=True)
    thread.start()
    try:
        await ended.wait()
    except asyncio.CancelledError:
        stop.set()
        try:
            async with asyncio.timeout(STOP_S):
                await ended.wait()
        except TimeoutError:
            log.warning("kopf did not stop within %g s; its thread ends with the process", STOP_S)
        raise
    raise RuntimeError("the thread of kopf ended by itself")


async def _serve(inbox: Inbox, watching: Watching, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            await kopf.operator(
                settings=_settings(watching),
                memo=Memo(inbox, watching.age),
                standalone=True,
                # Else kopf asks for the name of the user, and a pod's user has none.
                identity=cast(Any, "vmcp-operator"),
                clusterwide=not watching.namespaces,
                namespaces=watching.namespaces,
                stop_flag=stop,
            )
        except Exception as error:
            log.warning("watching ended, again in %.0f s: %s", RESTART_S, str(error) or type(error).__name__)
            await asyncio.sleep(RESTART_S)


def _settings(watching: Watching) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # It would watch CRDs and namespaces, which an operator of a few namespaces has no right to.
    settings.scanning.disabled = bool(watching.namespaces)
    settings.posting.enabled = False
    settings.watching.chunk_size = 500
    selector = owned.selector(with_servers=watching.with_servers)
    for kind in owned.kinds(with_servers=watching.with_servers):
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    return settings
