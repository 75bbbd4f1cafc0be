"""Plain JSON calls and a watch on one API server, for the runner: `kubernetes.aio` below, dicts above."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config

_CALL_SECONDS = 10.0
_WATCH_SECONDS = 120


class Refused(Exception):
    """The API server answered with an error.

    Attributes:
        status: HTTP status, or the code inside an error event of a watch.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Unreachable(Exception):
    """No answer came from the API server, or only a part of one."""


class Cluster:
    """One API server."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    @property
    def host_and_port(self) -> tuple[str, str]:
        """Where it listens: what a pod finds in KUBERNETES_SERVICE_HOST and _PORT."""
        host, _, port = self._api.configuration.host.removeprefix("https://").rstrip("/").rpartition(":")
        return host, port

    async def call(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """One call, its answer decoded.

        Raises:
            Refused: the answer is an error.
            Unreachable: there is none within 10 s.
        """
        try:
            answer = await self._send(method, path, body, content_type, _CALL_SECONDS)
            text = await answer.text()
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{method} {path}: {error!r}") from error
        if answer.status >= 400:
            raise Refused(answer.status, _message(text))
        found: dict[str, Any] = json.loads(text)
        return found

    async def watch(self, path: str, query: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """LISTED once with the whole list, then ADDED, MODIFIED and DELETED with an object each; two minutes.

        Raises:
            Refused: list or watch is refused, or the history is gone (410).
            Unreachable: the connection breaks.
        """
        listed = await self.call("GET", f"{path}?{query}")
        yield "LISTED", listed
        version = listed["metadata"]["resourceVersion"]
        watched = f"{path}?{query}&watch=true&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}"
        try:
            answer = await self._send("GET", watched, None, "application/json", _WATCH_SECONDS + 30.0)
            if answer.status >= 400:
                raise Refused(answer.status, _message(await answer.text()))
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise Refused(event["object"].get("code", 500), event["object"].get("message", ""))
                yield event["type"], event["object"]
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"watch {path}: {error!r}") from error

    async def _send(
        self, method: str, path: str, body: object, content_type: str, timeout_seconds: float
    ) -> aiohttp.ClientResponse:
        request = await self._api.param_serialize(
            method,
            path,
            body=body,
            header_params={"Content-Type": content_type, "Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _request_timeout=timeout_seconds)
        response: aiohttp.ClientResponse = answer.response
        return response


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """The cluster that the kubeconfig's current context names."""
    configuration = client.Configuration()
    async with asyncio.timeout(_CALL_SECONDS):
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(kubeconfig), client_configuration=configuration
        )
    # A proxy of the environment does not lead to an API server on this machine.
    configuration.client_session_kwargs = {"trust_env": False}
    async with client.ApiClient(configuration) as api:
        yield Cluster(api)


def _message(text: str) -> str:
    try:
        return str(json.loads(text).get("message", text))
    except (ValueError, AttributeError):
        return text[:500]
