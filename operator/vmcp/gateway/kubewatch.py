"""Watches one object by name at the API server, over the transport seam: list, watch, list again when told to."""

import asyncio
import json
import logging
import math
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from vmcp.mcp.transport import Peer, Request, Transport, TransportError

log = logging.getLogger(__name__)

DEFAULT_FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_OBJECT_BYTES: Final = 8 * 1024 * 1024
ANSWER_TIMEOUT_S: Final = 15.0
WATCH_S: Final = 300
"""How long the API server keeps one watch open."""
SILENCE_S: Final = 150.0
"""A watch silent for longer is dead: the server sends a bookmark about every minute."""
FIRST_RETRY_S: Final = 0.25
LAST_RETRY_S: Final = 15.0
_GONE: Final = 410

Content = dict[str, Any]


class WatchError(Exception):
    """The API server did not answer as expected. `status` is its HTTP status, 0 without one."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Where the API server is and who we are there. The token is read again for each request: it is rotated."""

    server: str
    folder: Path

    @classmethod
    def of_this_pod(cls, environ: Mapping[str, str] = os.environ) -> "ServiceAccount | None":
        """The Pod's own account; None outside of Kubernetes."""
        host = environ.get("KUBERNETES_SERVICE_HOST", "")
        port = environ.get("KUBERNETES_SERVICE_PORT", "443")
        folder = Path(environ.get("VMCP_SERVICEACCOUNT_DIR", str(DEFAULT_FOLDER)))
        if not host or not (folder / "token").is_file():
            return None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", folder)

    def request(self, path_and_query: str) -> Request:
        """A GET as this account.

        Raises:
            OSError: the account's files cannot be read.
        """
        return self._request("GET", path_and_query)

    def patch(self, path_and_query: str, body: bytes) -> Request:
        """A merge patch as this account. Raises OSError as `request`."""
        return self._request("PATCH", path_and_query, ("Content-Type", "application/merge-patch+json"), body=body)

    def _request(self, method: str, path_and_query: str, *headers: tuple[str, str], body: bytes = b"") -> Request:
        token = (self.folder / "token").read_text().strip()
        return Request(
            method=method,
            url=self.server + path_and_query,
            headers=(("Authorization", f"Bearer {token}"), ("Accept", "application/json"), *headers),
            body=body,
            peer=Peer(allow_private=True, ca_pem=(self.folder / "ca.crt").read_text()),
        )


class ObjectWatch:
    """One object.

    Args:
        path: of the collection, such as `/api/v1/namespaces/default/configmaps`.
        seen: called with the object at each list and change; None = it does not exist.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        account: ServiceAccount,
        path: str,
        name: str,
        seen: Callable[[Content | None], None],
    ) -> None:
        self._transport = transport
        self._account = account
        self._path = path
        self._name = name
        self._seen = seen

    async def run(self) -> None:
        """Watch until cancelled. What goes wrong is logged once in a row and tried again."""
        retry_s = FIRST_RETRY_S
        complaint = ""
        loop = asyncio.get_running_loop()
        while True:
            listed_at = math.inf
            try:
                version = await self._list()
                listed_at = loop.time()
                while True:
                    version = await self._watch(version)
                    # A server that ends every watch at once must not be asked without pause.
                    await asyncio.sleep(FIRST_RETRY_S)
            except WatchError as error:
                # Gone = our version is too old to go on from: nothing to complain of, list again.
                reason = "" if error.status == _GONE else str(error)
            except TransportError as error:
                reason = f"{error.category.value}: {error}"
            except OSError as error:
                reason = f"the ServiceAccount's files: {error.strerror}"
            if loop.time() - listed_at > LAST_RETRY_S:
                # A list alone is no success: where it is followed by no watch, it must not be repeated without pause.
                retry_s, complaint = FIRST_RETRY_S, ""
            if reason and reason != complaint:
                log.warning("watch of %s %s: %s", self._path.rpartition("/")[2], self._name, reason)
                complaint = reason
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(retry_s * 2, LAST_RETRY_S)

    async def _list(self) -> str:
        response = await self._transport.send(self._account.request(self._url()), timeout=ANSWER_TIMEOUT_S)
        body = await response.read(limit=MAX_OBJECT_BYTES, timeout=ANSWER_TIMEOUT_S)
        if response.status != 200:
            raise WatchError(response.status, f"list answered with HTTP {response.status}")
        content = _decoded(body)
        items = content.get("items") or []
        self._seen(items[0] if items else None)
        return str(content.get("metadata", {}).get("resourceVersion", ""))

    async def _watch(self, version: str) -> str:
        url = self._url(watch="true", resourceVersion=version, allowWatchBookmarks="true", timeoutSeconds=str(WATCH_S))
        response = await self._transport.send(self._account.request(url), timeout=ANSWER_TIMEOUT_S, fresh=True)
        try:
            if response.status != 200:
                raise WatchError(response.status, f"watch answered with HTTP {response.status}")
            buffer = b""
            async for chunk in response.chunks(idle_timeout=SILENCE_S):
                *lines, buffer = (buffer + chunk).split(b"\n")
                if len(buffer) > MAX_OBJECT_BYTES:
                    raise WatchError(0, "the object is too large")
                for line in lines:
                    version = self._event(line, version)
        finally:
            response.close()
        return version

    def _event(self, line: bytes, version: str) -> str:
        if not line.strip():
            return version
        event = _decoded(line)
        content: Content = event.get("object") or {}
        match event.get("type"):
            case "ERROR":
                code = int(content.get("code", 0))
                raise WatchError(code, f"watch ended: {content.get('reason', 'unknown reason')}")
            case "DELETED":
                self._seen(None)
            case "ADDED" | "MODIFIED":
                self._seen(content)
        return str(content.get("metadata", {}).get("resourceVersion", version))

    def _url(self, **query: str) -> str:
        # Only with this selector does RBAC by resourceNames allow list and watch.
        selector = f"metadata.name={self._name}"
        return f"{self._path}?{urlencode({'fieldSelector': selector, **query}, quote_via=quote)}"


def _decoded(text: bytes) -> Content:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise WatchError(0, "the API server's answer is no JSON") from error
    if not isinstance(content, dict):
        raise WatchError(0, "the API server's answer is no object")
    return content
