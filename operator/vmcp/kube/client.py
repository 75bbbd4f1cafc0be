"""Reads and writes any kind as plain JSON, on `kubernetes.aio`.

Every call has a timeout, every failure is a `KubeError`.
"""

import builtins
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client, config

import vmcp
from vmcp.api.kinds import Kind

JsonObject = dict[str, Any]

FIELD_MANAGER = "vmcp-operator"
TIMEOUT_S = 15.0
PAGE_SIZE = 500
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_NO_SUCH_FIELD = ("failed to create typed patch object", "failed to convert new object")
"""What the API server says, as an error 500, of an apply with a field that does not exist or of another type."""


class KubeError(Exception):
    """A call that the API server refused or did not answer.

    Attributes:
        status: HTTP status; 0 = no answer (no connection, or over the timeout).
        reason: the API server's machine-readable reason, such as `AlreadyExists`.
        retry_after_s: what the server asked for, in seconds.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s

    @property
    def is_refusal(self) -> bool:
        """Whether the API server understood and said no; anything else may be over at the next attempt."""
        return self.status == 403 or self.is_invalid

    @property
    def is_invalid(self) -> bool:
        """Whether it said no to what the object holds."""
        return self.status in (400, 422) or any(words in str(self) for words in _NO_SUCH_FIELD)


class NotFound(KubeError):
    """The object, its namespace or its kind does not exist."""


class NamespaceEnding(KubeError):
    """Nothing is created in a namespace that is being deleted: there is nothing to do but to let it end."""

    @property
    def is_refusal(self) -> bool:
        """It says nothing of the object."""
        return False


class Conflict(KubeError):
    """The object changed since it was read, or another manager owns a field, or the name is taken."""


@dataclass(slots=True)
class _Answers:
    last: float | None = None


class Kube:
    """The operator's one client; safe to use from many tasks of one loop."""

    def __init__(
        self, api: client.ApiClient, may_write: Callable[[], None] | None = None, answers: _Answers | None = None
    ) -> None:
        self._api = api
        self._may_write = may_write
        self._answers = answers or _Answers()

    @property
    def answered_at(self) -> float | None:
        """When the API server last answered a call, whatever it said; monotonic, None before the first."""
        return self._answers.last

    def fenced(self, may_write: Callable[[], None]) -> "Kube":
        """The same client, but that asks before every write; what `may_write` raises, the write raises, unsent."""
        return Kube(self._api, may_write, self._answers)

    async def read(self, path: str) -> JsonObject:
        """What the API server says at a path that is no object's, such as its schema. Raises NotFound, KubeError."""
        return await self._call("GET", path)

    async def get(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        """The object as stored. Raises NotFound, KubeError."""
        return await self._call("GET", _path(kind, namespace, name))

    async def list(
        self, kind: Kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> list[JsonObject]:
        """All objects of a kind, in one namespace or in all. Raises KubeError."""
        pages = self.pages(kind, namespace, label_selector=label_selector, field_selector=field_selector)
        return [obj async for page in pages for obj in page]

    async def pages(
        self, kind: Kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator["builtins.list[JsonObject]"]:
        """As `list`, by the page, for kinds of which there are thousands. Raises KubeError."""
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            page = await self._call("GET", _collection(kind, namespace), query)
            yield page.get("items", [])
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query = query | {"continue": token}

    async def apply(
        self,
        kind: Kind,
        body: JsonObject,
        *,
        subresource: str = "",
        manager: str = FIELD_MANAGER,
        dry_run: bool = False,
    ) -> JsonObject:
        """Server-side apply, by force; the object as it then is. Raises NotFound, Conflict, KubeError.

        Args:
            dry_run: only have it judged and defaulted; nothing is stored.
        """
        metadata = body["metadata"]
        path = _path(kind, metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return await self._call("PATCH", path, query, body, _APPLY)

    async def create(self, kind: Kind, body: JsonObject) -> JsonObject:
        """Create the object. Raises Conflict where the name is taken, KubeError."""
        path = _collection(kind, body["metadata"]["namespace"])
        return await self._call("POST", path, {"fieldManager": FIELD_MANAGER}, body)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: JsonObject, *, subresource: str = ""
    ) -> JsonObject:
        """Merge patch; the object as it then is. Raises NotFound, Conflict, KubeError."""
        path = _path(kind, namespace, name, subresource)
        return await self._call("PATCH", path, {"fieldManager": FIELD_MANAGER}, body, _MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str = "") -> None:
        """Delete the object, only with that UID where one is given. Raises NotFound, Conflict, KubeError."""
        body = {"preconditions": {"uid": uid}} if uid else None
        await self._call("DELETE", _path(kind, namespace, name), body=body)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = "application/json",
    ) -> JsonObject:
        try:
            request = await self._api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                body=body,
                header_params={"Content-Type": content_type, "Accept": "application/json"},
                auth_settings=["BearerToken"],
            )
            if method != "GET" and self._may_write is not None:
                self._may_write()
            response = await self._api.call_api(*request, _request_timeout=TIMEOUT_S)
            text: bytes = await response.read()  # type: ignore[no-untyped-call]
            self._answers.last = time.monotonic()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KubeError(0, "NoAnswer", f"{method} {path}: no answer from the API server ({error})") from error
        if not 200 <= response.status < 300:
            raise _error(response.status, response.headers, text, f"{method} {path}")
        try:
            result: JsonObject = json.loads(text)
        except ValueError as error:
            raise KubeError(response.status, "NotJson", f"{method} {path}: the answer is not JSON") from error
        return result


def _collection(kind: Kind, namespace: str | None) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = f"/namespaces/{_segment(namespace)}" if namespace else ""
    return f"{root}{scope}/{kind.plural}"


def _path(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    path = f"{_collection(kind, namespace)}/{_segment(name)}"
    return f"{path}/{subresource}" if subresource else path


def _segment(name: str) -> str:
    """A name as part of a path. Names come from users' references: `../secrets/x` must lead nowhere else."""
    if name in ("", ".", "..") or "/" in name or "%" in name:
        raise NotFound(404, "NotFound", f"{name!r} cannot be the name of an object")
    return quote(name, safe="")


def _error(status: int, headers: Mapping[str, str], text: bytes, what: str) -> KubeError:
    try:
        body = json.loads(text)
        reason, message = str(body.get("reason", "")), str(body.get("message", ""))
        causes = [cause.get("reason") for cause in (body.get("details") or {}).get("causes") or ()]
    except (ValueError, AttributeError, TypeError):
        reason, message, causes = "", text[:200].decode(errors="replace"), []
    retry_after = headers.get("Retry-After", "")
    wait = float(retry_after) if retry_after.isdigit() else None
    kind = {404: NotFound, 409: Conflict}.get(status, KubeError)
    if status == 403 and "NamespaceTerminating" in causes:
        kind = NamespaceEnding
    return kind(status, reason, f"{what}: {status} {message}", wait)


def _environments_proxy(server: str) -> str | None:
    """The proxy that the environment names for that server, if any."""
    parts = urlsplit(server)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


@asynccontextmanager
async def connect(kubeconfig: str | None, context: str | None = None) -> AsyncIterator[Kube]:
    """A client for the cluster of a kubeconfig, or of the pod that this process runs in where none is given.

    Raises:
        kubernetes.aio.config.ConfigException: the kubeconfig is broken, or this is no pod.
    """
    configuration = client.Configuration()
    if kubeconfig:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
    else:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    # Left to itself the client asks two threads before each request, for ~/.netrc and for the proxy: more CPU than
    # the request itself.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _environments_proxy(configuration.host)
    async with client.ApiClient(configuration) as api:
        # Tells in the API server's audit log which of several replicas wrote.
        api.user_agent = f"vmcp-operator/{vmcp.__version__} ({socket.gethostname()}; {os.getpid()})"
        yield Kube(api)
